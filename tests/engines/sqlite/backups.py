"""Backing up and restoring tenants of SQLite, as the tests of both do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ledger.engines.base import Backup
from ledger.engines.sqlite.engine import SqliteEngine
from ledger.events import Mark
from tests.engines.sqlite_child import target_for
from tests.engines.work import LEDGER


def opened(path: Path) -> sqlite3.Connection:
    """A connection past the engine."""
    return sqlite3.connect(path, isolation_level=None, timeout=5)


def own(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements as an application that has a collation and a function of its own."""
    rows: list[tuple[object, ...]] = []
    with closing(opened(path)) as application:
        application.create_collation("BACKWARDS", lambda one, other: (one < other) - (one > other))
        application.create_function("doubled", 1, lambda value: value * 2, deterministic=True)
        for statement in statements:
            rows = application.execute(statement).fetchall()
    return rows


def make_own_indexes(path: Path) -> None:
    """Tables that need what only the application has."""
    own(
        path,
        "CREATE TABLE places (name TEXT COLLATE BACKWARDS, size INTEGER)",
        "CREATE INDEX places_name ON places (name)",
        "CREATE INDEX places_size ON places (doubled(size)) WHERE doubled(size) > 0",
        "CREATE TABLE codes (code TEXT COLLATE BACKWARDS PRIMARY KEY) WITHOUT ROWID",
        "INSERT INTO places VALUES ('A', 1), ('b', 2)",
        "INSERT INTO codes VALUES ('A'), ('b')",
        "CREATE TABLE sums (size INTEGER, twice INTEGER AS (doubled(size)) NOT NULL)",
        "INSERT INTO sums VALUES (1), (2)",
    )


async def back_up(path: Path, name: str = "backup.sqlite") -> Backup:
    """A backup beside the tenant."""
    async with SqliteEngine().open(target_for(path)) as session:
        return await session.backup(path.with_name(name), deadline_seconds=30)


async def restore(
    path: Path, backup: Backup, *, epoch: int = 5, lock_seconds: float = 5, seconds: float = 30
) -> Mark:
    """Restore it, as a later run does."""
    target = target_for(path, for_restore=True)
    async with SqliteEngine(lock_seconds=lock_seconds).open(target) as session:
        return await session.restore(
            backup.path, sha256=backup.sha256, epoch=epoch, ledger=LEDGER, deadline_seconds=seconds
        )
