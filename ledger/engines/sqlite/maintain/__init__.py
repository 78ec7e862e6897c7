"""Maintenance of SQLite tenants."""
