"""aiosqlite, with its traps closed.

One hop to the connection's thread can run a whole function (`call`), so that a
phase costs one hop and not one per statement. Invariants: transactions are ours
alone (`isolation_level=None`); a missing file is never created unless asked for;
a connection is closed in a shielded scope with a deadline; a cancelled call is
interrupted and waited for, since cancelling an await does not stop the SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import aiosqlite
import anyio

T = TypeVar("T")

CLOSE_SECONDS = 10.0
"""How long a close may take before it is given up."""


def file_uri(path: str | Path, *, mode: str) -> str:
    """A `file:` URI with `mode` (ro, rw, rwc); every character of the path is safe in it."""
    return f"file:{quote(str(path))}?mode={mode}"


@asynccontextmanager
async def connect(
    path: str | Path, *, mode: str = "rw", busy_timeout_ms: int = 250
) -> AsyncIterator[aiosqlite.Connection]:
    """Open a database in autocommit mode; `:memory:` is a database of its own.

    `interrupt` does not break a busy wait, so `busy_timeout_ms` is short and
    callers retry. Raises sqlite3.OperationalError if the file cannot be opened.
    """
    memory = str(path) == ":memory:"
    connection = aiosqlite.connect(
        ":memory:" if memory else file_uri(path, mode=mode),
        uri=not memory,
        isolation_level=None,
        timeout=busy_timeout_ms / 1000,
        cached_statements=64,
    )
    try:
        await connection
        yield connection
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await connection.close()


async def call(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run `function(sqlite3 connection)` in the connection's thread: one hop, whatever it does.

    If the caller is cancelled the running SQL is interrupted and the thread is
    waited for (bounded), and an open transaction is rolled back, before the
    cancellation goes on. Whether a COMMIT had happened by then is the marker's
    to tell. aiosqlite offers no public way to run a function; its `_execute` is
    used here and nowhere else, and a test holds the versions we admit to it.
    """
    try:
        result: T = await connection._execute(function, connection._conn)  # type: ignore[no-untyped-call]
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await connection.interrupt()
            await connection._execute(_roll_back_if_open, connection._conn)  # type: ignore[no-untyped-call]
        raise
    return result


def _roll_back_if_open(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
