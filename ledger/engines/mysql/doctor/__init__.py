"""What a server and an account allow."""
