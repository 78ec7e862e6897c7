"""Backups of SQLite tenants, and bringing them back."""
