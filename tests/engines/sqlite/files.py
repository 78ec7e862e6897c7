"""Tenants of SQLite, past the engine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def run(path: Path, *statements: str) -> None:
    """Statements behind the engine's back, each by itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Past the engine."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()
