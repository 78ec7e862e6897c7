"""aiosqlite, with its traps closed.

One hop to the connection's thread can run a whole function (`call`), so that a
phase costs one hop and not one per statement. Invariants: transactions are ours
alone (`isolation_level=None`); a missing file is never created unless asked for;
a connection is closed in a shielded scope with a deadline; a cancelled call is
interrupted and waited for, since cancelling an await does not stop the SQL.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import aiosqlite
import anyio
import anyio.to_thread

from ledger.drivers.url import file_uri

T = TypeVar("T")

CLOSE_SECONDS: Final = 10.0
"""How long a close, or the end of an interrupted call, may take before it is given up."""

INTERRUPT_SECONDS: Final = 0.005
"""Pause between two interrupts of an abandoned call: one that falls between two statements is lost."""


@asynccontextmanager
async def connect(
    path: str | Path,
    *,
    mode: str = "rw",
    busy_timeout_ms: int = 250,
    immutable: bool = False,
    prepare: Callable[[sqlite3.Connection], None] | None = None,
) -> AsyncIterator[aiosqlite.Connection]:
    """Open a database in autocommit mode; `:memory:` is a database of its own.

    `immutable` reads a file that nobody can write (a WAL database in a read-only
    folder cannot be opened otherwise): no locks, no -wal, no -shm. `prepare`
    runs in the connection's thread as part of the same hop; what it raises is
    raised here, and the connection is closed.

    `interrupt` does not break a busy wait, so `busy_timeout_ms` is short and
    callers retry. Raises sqlite3.OperationalError if the file cannot be opened.
    """
    memory = str(path) == ":memory:"
    name = ":memory:" if memory else file_uri(path, mode=mode) + "&immutable=1" * immutable

    opened: list[sqlite3.Connection] = []

    def connector() -> sqlite3.Connection:
        database = sqlite3.connect(
            name,
            uri=not memory,
            isolation_level=None,
            timeout=busy_timeout_ms / 1000,
            cached_statements=64,
            check_same_thread=False,  # A connection that arrives after a cancellation is closed here.
        )
        opened.append(database)
        if prepare is not None:
            try:
                prepare(database)
            except BaseException:
                database.close()
                raise
        return database

    connection = aiosqlite.Connection(connector, iter_chunk_size=64)
    try:
        try:
            await connection
        except BaseException:
            # aiosqlite has asked the thread to end, and forgets what it opens until then.
            thread: Any = getattr(connection, "_thread", connection)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join, CLOSE_SECONDS)
            if not thread.is_alive():
                for database in opened:
                    database.close()
            raise
        yield connection
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close(connection)


@asynccontextmanager
async def looking(
    path: str | Path,
    *,
    busy_timeout_ms: int = 250,
    prepare: Callable[[sqlite3.Connection], None] | None = None,
) -> AsyncIterator[aiosqlite.Connection]:
    """Open a database to read it, whatever a killed writer has left beside it.

    A journal or a WAL that has to be recovered first is recovered, as any program that opens the
    database does. A WAL database in a folder that cannot be written is read as it lies. Raises
    sqlite3.Error if the database cannot be read.
    """

    def read_only(database: sqlite3.Connection) -> None:
        if prepare is not None:
            prepare(database)
        database.execute("PRAGMA query_only = ON")
        database.execute("SELECT 1 FROM main.sqlite_master LIMIT 1").fetchone()

    async with AsyncExitStack() as stack:
        connection = await open_somehow(
            (
                partial(connect, path, mode="ro", busy_timeout_ms=busy_timeout_ms),
                partial(connect, path, mode="rw", busy_timeout_ms=busy_timeout_ms),
            ),
            path,
            stack,
            read_only,
        )
        yield connection


Opener = Callable[..., AbstractAsyncContextManager[aiosqlite.Connection]]


async def open_somehow(
    ways: Sequence[Opener],
    path: str | Path,
    stack: AsyncExitStack,
    prepare: Callable[[sqlite3.Connection], None],
) -> aiosqlite.Connection:
    """The first of these ways to open a file that works; then as it lies, if it cannot change.

    Raises what the first one raised.
    """
    first: sqlite3.OperationalError | None = None
    for way in ways:
        try:
            return await stack.enter_async_context(way(prepare=prepare))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NOT_OPENED:
                raise first or error from None
            first = first or error
    if lies_still(path):
        return await stack.enter_async_context(
            connect(path, mode="ro", immutable=True, prepare=prepare)
        )
    raise first or sqlite3.OperationalError("unable to open database file")


_NOT_OPENED: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def lies_still(path: str | Path) -> bool:
    """Whether a file is in a folder where we cannot write, and no process has left anything beside it.

    A WAL database is open nowhere if it has no -wal and no -shm file.
    """
    real = Path(path).resolve()
    beside = (real.with_name(real.name + suffix) for suffix in ("-wal", "-shm", "-journal"))
    return (
        real.is_file()
        and not os.access(real.parent, os.W_OK)
        and not any(path.exists() for path in beside)
    )


async def close(connection: aiosqlite.Connection) -> None:
    """Close a connection and end its thread. May be called again.

    aiosqlite's `close` takes a hop to close and another to end the thread; its
    `stop` (since 0.22) does both in one.
    """
    stop: Callable[[], Awaitable[object]] | None = getattr(connection, "stop", None)
    if stop is None:
        await connection.close()
    elif connection._connection is not None:
        await stop()


class _Job(Generic[T]):
    """One function on its way through the connection's thread, and what became of it."""

    def __init__(self, function: Callable[[sqlite3.Connection], T]) -> None:
        self._function = function
        self.started = False
        self.abandoned = False
        self.over = threading.Event()
        self.result: list[T] = []

    def run(self, connection: sqlite3.Connection) -> T:
        self.started = True
        try:
            if self.abandoned:
                raise sqlite3.OperationalError("interrupted")
            value = self._function(connection)
            self.result.append(value)
            return value
        finally:
            self.over.set()


async def call(
    connection: aiosqlite.Connection,
    function: Callable[[sqlite3.Connection], T],
    *,
    stop: threading.Event | None = None,
    timeout_seconds: float | None = None,
) -> T:
    """Run `function(sqlite3 connection)` in the connection's thread: one hop, whatever it does.

    If the caller is cancelled the running SQL is interrupted again and again
    until the thread has left the function (bounded), and an open transaction is
    rolled back, before the cancellation goes on. An interrupt between two
    statements is lost, so that a function of several looks at `stop`, which is
    set first. Whether a COMMIT had happened by then is the marker's to tell.

    After `timeout_seconds` the same is done, and TimeoutError raised, unless the
    function came to its end all the same.

    aiosqlite offers no public way to run a function; its `_execute` is used here
    and nowhere else, and a test holds the versions we admit to it.
    """
    job = _Job(function)
    if timeout_seconds is None:
        return await _submit(connection, job, stop)
    with anyio.move_on_after(timeout_seconds):
        return await _submit(connection, job, stop)
    if job.result:
        return job.result[0]
    raise TimeoutError(f"timed out after {timeout_seconds:g} s")


async def _submit(
    connection: aiosqlite.Connection, job: _Job[T], stop: threading.Event | None
) -> T:
    try:
        value: T = await connection._execute(job.run, connection._conn)  # type: ignore[no-untyped-call]
    except anyio.get_cancelled_exc_class():
        job.abandoned = True
        if stop is not None:
            stop.set()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await _interrupt(connection, job)
        raise
    return value


async def _interrupt(connection: aiosqlite.Connection, job: _Job[T]) -> None:
    """Get the thread out of the job. Another caller's job, still before ours, is left alone."""
    while not job.over.is_set():
        if job.started:
            await connection.interrupt()
        await anyio.sleep(INTERRUPT_SECONDS)
    await connection._execute(_roll_back_if_open, connection._conn)  # type: ignore[no-untyped-call]


def _roll_back_if_open(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def write_file(
    path: Path, schema: Sequence[str], insert: str, rows: Iterable[Sequence[object]]
) -> None:
    """Make a database of these statements and rows, which has its name once it is complete."""
    half = path.with_suffix(".half")
    half.unlink(missing_ok=True)
    with closing(sqlite3.connect(half, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for statement in schema:
            database.execute(statement)
        database.executemany(insert, rows)
        database.execute("COMMIT")
    half.replace(path)
