"""Schemas of SQLite databases: read, and wished."""
