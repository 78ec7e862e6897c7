"""Which versions of the databases' libraries are installed."""

from __future__ import annotations

import importlib.metadata
import sqlite3
from typing import Final

_DRIVERS: Final = ("aiosqlite", "aiomysql", "PyMySQL")


def library_versions() -> list[str]:
    """NAME VERSION of each: the library of SQLite, and the drivers."""
    drivers = [f"{name} {importlib.metadata.version(name)}" for name in _DRIVERS]
    return [f"SQLite {sqlite3.sqlite_version}", *drivers]
