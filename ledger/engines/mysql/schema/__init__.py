"""What a tenant's schema is, and what it lacks."""
