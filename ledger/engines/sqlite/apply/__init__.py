"""Applying and undoing migrations in a SQLite tenant."""
