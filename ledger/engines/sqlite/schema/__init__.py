"""Schemas of SQLite databases: read, and desired."""
