"""Who may change a tenant: GET_LOCK, the marker and its fence."""
