"""A ledger in a SQLite file: WAL, synchronous=FULL, one connection to write and one to read.

Invariant: a write is one hop to the writer's thread and one transaction, begun with BEGIN
IMMEDIATE, and leaves none open; a ledger is made in one transaction, in a file that only its
owner can read.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite
import anyio

from ledger.drivers.folders import nothing_at, sync_folder
from ledger.drivers.locks import lock_holders
from ledger.drivers.sqlite import call, connect
from ledger.drivers.url import SecretSource, SqliteUrl
from ledger.errors import DuplicateKeyError, NoLedgerError, StoreUnavailableError
from ledger.stores.base import MAKE_HINT, Connection, Prepared, Row, Spelling, Table
from ledger.stores.schema import REFUSING

BUSY_SECONDS: Final = 20.0
"""How long a write waits for another process, in short steps that can be cancelled."""
OTHER_HINT: Final = (
    "Check `url` in the configuration. If this was the ledger, put back a copy of it."
)
MEMORY: Final = ":memory:"
ROWS: Final = (256, 64, 16, 4, 1)
"""Rows of one INSERT: 256 events have 2,560 parameters; SQLite admits 32,766 (since 3.32)."""

SPELLING: Final = Spelling(
    words={
        "key": "key",
        **dict.fromkeys(("position", "number", "small", "tiny"), "INTEGER"),
        **dict.fromkeys(("name_128", "name_255", "name_512", "code_32"), "TEXT"),
        **dict.fromkeys(("digest", "long_text"), "TEXT"),
        **dict.fromkeys(("bytes", "raw_digest"), "BLOB"),
        "table": "",
        "keyed_table": "WITHOUT ROWID",
        "key_stream_version": "",
        "key_name": "",
    },
    as_bytes="CAST({column} AS BLOB)",
    clock="NULL",
    view="""
CREATE VIEW IF NOT EXISTS event_log AS
SELECT events.seq, streams.name AS stream, events.version, types.name AS type,
    strftime('%Y-%m-%dT%H:%M:%S', events.at / 1000000, 'unixepoch')
        || printf('.%06dZ', events.at % 1000000) AS at,
    runs.name AS run, actors.name AS actor,
    CASE WHEN substr(streams.name, 1, 7) = 'tenant/' THEN substr(streams.name, 8) END AS tenant,
    '{"type":"' || types.name || '","schema":1' || coalesce(event_parts.text, '')
        || CASE events.body WHEN '{}' THEN '}' ELSE ',' || substr(events.body, 2) END AS body,
    lower(hex(events.hash)) AS hash
FROM events
JOIN event_names AS streams ON streams.kind = 1 AND streams.id = events.stream
JOIN event_names AS types ON types.kind = 4 AND types.id = events.type
JOIN event_names AS runs ON runs.kind = 2 AND runs.id = events.run
JOIN event_names AS actors ON actors.kind = 3 AND actors.id = events.actor
LEFT JOIN event_parts ON event_parts.id = events.part""",
    like="{column} GLOB ?",
    pattern=lambda pattern: pattern.replace("[", "[[]"),
    # The `+` keeps the planner from the index of seq.
    seq_in_stream="+seq",
)


def _refusing(table: str, action: str, condition: str = "") -> str:
    verb = "INSERT" if action == "REPLACE" else action
    return f"""
CREATE TRIGGER IF NOT EXISTS {table}_refuse_{action.lower()} BEFORE {verb} ON {table}{condition}
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {action} on {table} is refused'); END"""


# INSERT OR REPLACE deletes without firing DELETE triggers: for events the seq must be beyond the
# head, names and parts must be new, and a script that is there already is left as it is.
_THERE: Final = {
    "events": "NEW.seq <= (SELECT seq FROM head)",
    # Two questions, each of an index: joined by OR they would be answered by a walk of all names.
    "event_names": "EXISTS (SELECT 1 FROM event_names WHERE kind = NEW.kind AND id = NEW.id)"
    " OR EXISTS (SELECT 1 FROM event_names WHERE kind = NEW.kind AND name = NEW.name)",
    "event_parts": "EXISTS (SELECT 1 FROM event_parts WHERE id = NEW.id)",
    "event_segments": "EXISTS (SELECT 1 FROM event_segments WHERE last_seq = NEW.last_seq)",
}
TRIGGERS: Final = (
    *(_refusing(table, action) for table in REFUSING for action in ("UPDATE", "DELETE")),
    *(_refusing(table, "REPLACE", f"\nWHEN {there}") for table, there in _THERE.items()),
    """
CREATE TRIGGER IF NOT EXISTS scripts_keep_first BEFORE INSERT ON scripts
WHEN EXISTS (SELECT 1 FROM scripts WHERE sha256 = NEW.sha256)
BEGIN SELECT RAISE(IGNORE); END""",
)

_HEAD: Final = "SELECT seq, hash, (SELECT value FROM meta WHERE key = 'schema') FROM head"
_COLUMNS: Final = """
SELECT tables.name, columns.name
FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table'"""

T = TypeVar("T")


class _Connection:
    """A `Connection` in the thread of a file. Its methods return without ever waiting for the event loop."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    async def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._db.execute(sql, values).fetchall()

    async def insert(self, table: Table, rows: Sequence[Row], *, replace: bool = False) -> None:
        # A statement per row would ask for Python's lock as often, and wait each time while
        # the event loop works.
        start = 0
        for count in ROWS:
            while start + count <= len(rows):
                part = rows[start : start + count]
                statement = _insert(table.name, tuple(table.columns), count, replace)
                self._db.execute(statement, list(chain.from_iterable(part)))
                start += count

    async def lock_head(self) -> list[Row]:
        # BEGIN IMMEDIATE has locked it.
        return [(*row, self.moment(None)) for row in self._db.execute(_HEAD)]

    def moment(self, clock: object) -> int:
        # The host's clock: SQLite's own has milliseconds.
        return time.time_ns() // 1000

    async def columns(self) -> list[tuple[str, str]]:
        # Of all tables: a ledger shares its file with no other.
        return self._db.execute(_COLUMNS).fetchall()

    async def change_layout(self, statement: str) -> None:
        self._db.execute(statement)


class FileDatabase:
    """A `Database` in a file, or in memory."""

    spelling = SPELLING
    triggers: Sequence[str] = TRIGGERS

    def __init__(self, url: SqliteUrl, _: SecretSource) -> None:
        self.url = str(url)
        self._path = url.path
        self._stack = AsyncExitStack()
        self._reader: aiosqlite.Connection | None = None
        self._writer: aiosqlite.Connection | None = None
        self._opening = anyio.Lock()
        self._closed = False

    async def open(self, *, create: bool) -> None:
        """See `Database.open`: connections are made when they are needed."""
        if self._path == MEMORY:
            return
        (_make_file if create else _refuse_missing)(self._path)

    async def aclose(self) -> None:
        """See `Database.aclose`."""
        self._closed = True
        self._reader = self._writer = None
        await self._stack.aclose()

    async def read(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """See `Database.read`."""
        return await self._call(self._reading, lambda db: _finished(work(_Connection(db))))

    async def fetch(self, sql: str, values: Sequence[object]) -> list[Row]:
        """See `Database.fetch`."""
        return await self._call(self._reading, lambda db: db.execute(sql, values).fetchall())

    async def write(self, work: Callable[[Connection, bool], Coroutine[Any, Any, T]]) -> T:
        """See `Database.write`."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = _finished(work(_Connection(db), False))
                db.execute("COMMIT")
            except BaseException:
                # A full disk or an I/O error has ended it already.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

        return await self._call(self._writing, transaction)

    async def make(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """See `Database.make`: one transaction."""
        return await self.write(lambda connection, _: work(connection))

    async def now(self) -> datetime:
        """See `Database.now`: this host's clock."""
        return datetime.now(UTC)

    def refuse(self, request: Prepared) -> None:
        """See `Database.refuse`: a file takes whatever fits into memory."""

    def missing(self) -> NoLedgerError:
        """See `Database.missing`."""
        return NoLedgerError(f"{self._path} is empty, not a ledger", hint=MAKE_HINT)

    def foreign(self) -> StoreUnavailableError:
        """See `Database.foreign`."""
        return StoreUnavailableError(
            f"{self._path} is a database, but not a ledger", hint=OTHER_HINT
        )

    async def _call(
        self,
        connection: Callable[[], Awaitable[aiosqlite.Connection]],
        function: Callable[[sqlite3.Connection], T],
    ) -> T:
        """Run a function in a connection's thread, again while another process holds the lock."""
        deadline = anyio.current_time() + BUSY_SECONDS
        pause = 0.002
        while True:
            try:
                return await call(await connection(), function)
            except sqlite3.Error as error:
                busy = _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or anyio.current_time() + pause > deadline:
                    raise _translated(error, self._path) from error
            await anyio.sleep(pause)
            pause = min(pause * 2, 0.05)

    async def _reading(self) -> aiosqlite.Connection:
        if self._reader is not None:
            return self._reader
        if self._path == MEMORY:
            return await self._writing()
        async with self._opening:
            if self._reader is None:
                try:
                    self._reader = await self._connect("PRAGMA query_only = ON")
                except sqlite3.OperationalError:
                    if not _cannot_change(self._path):
                        raise
                    self._reader = await self._connect("PRAGMA query_only = ON", immutable=True)
            return self._reader

    async def _writing(self) -> aiosqlite.Connection:
        if self._writer is not None:
            return self._writer
        async with self._opening:
            if self._writer is None:
                self._writer = await self._connect(
                    "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"
                )
            return self._writer

    async def _connect(self, *pragmas: str, immutable: bool = False) -> aiosqlite.Connection:
        """A connection that is closed with the ledger, or at once if it turns out to be unusable."""
        if self._closed:
            raise StoreUnavailableError(f"the ledger {self._path} was closed")

        def prepare(db: sqlite3.Connection) -> None:
            for pragma in pragmas:
                db.execute(pragma)
            db.execute("SELECT count(*) FROM sqlite_master").fetchall()

        return await self._stack.enter_async_context(
            connect(self._path, immutable=immutable, prepare=prepare)
        )


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that awaits nothing but a `_Connection`, run to its end here."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a transaction on a file waited for something else than its connection")


@cache
def _insert(table: str, columns: tuple[str, ...], rows: int, replace: bool) -> str:
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    row = f"({', '.join('?' for _ in columns)})"
    return f"{verb} INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"


def _make_file(path: str) -> None:
    """Make an empty file, mode 0600, in an existing folder; one that is there is left alone."""
    try:
        # An existing file is not even opened: closing it would drop its SQLite locks.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailableError(
            f"the ledger {path} cannot be made: {error.strerror}",
            hint="Make the folder first, or check `url` in the configuration.",
        ) from error
    os.close(descriptor)
    sync_folder(Path(path).parent)


def _refuse_missing(path: str) -> None:
    if nothing_at(path):
        raise NoLedgerError(f"there is no ledger at {path}", hint=MAKE_HINT)
    try:
        is_file = Path(path).is_file()
    except OSError as error:
        raise StoreUnavailableError(
            f"the ledger {path} cannot be opened: {(error.strerror or str(error)).lower()}",
            hint="Give this account the rights on it and on the folders above it.",
        ) from error
    if not is_file:
        raise StoreUnavailableError(f"{path} is not a file", hint=OTHER_HINT)


def _cannot_change(path: str) -> bool:
    """Whether nobody here can write in the ledger's folder, and its WAL holds nothing."""
    wal = Path(path + "-wal")
    return not os.access(Path(path).parent, os.W_OK) and not (wal.exists() and wal.stat().st_size)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_PROBLEMS: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_BUSY: (
        "is locked by another process",
        "Let that process end its transaction, or end the process (a run that is killed loses"
        " nothing; one that is stopped goes on with `kill -CONT`), then run the command again.",
    ),
    sqlite3.SQLITE_READONLY: (
        "is read-only",
        "Make the file and its folder writable for this user.",
    ),
    sqlite3.SQLITE_FULL: ("has no room left on its disk", "Free some disk space, then run again."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Look at the disk and the system log."),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "Check that the file and its folder may be read and written by this user.",
    ),
    sqlite3.SQLITE_NOTADB: ("is not a SQLite database", OTHER_HINT),
    sqlite3.SQLITE_CORRUPT: (
        "is corrupt",
        "Set the file aside, restore the newest copy of it, and run `ledger verify`.",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "does not fit together: its head row and its events disagree",
        "Run `ledger verify` to see where, and restore the ledger from a copy.",
    ),
    sqlite3.SQLITE_PERM: ("may not be accessed", "Check the file's owner and mode."),
}


def _translated(error: sqlite3.Error, path: str) -> StoreUnavailableError:
    """The driver's exception in the ledger's words."""
    code = _code(error)
    what, hint = _PROBLEMS.get(code, ("cannot be used", "Run `ledger verify`."))
    if code == sqlite3.SQLITE_BUSY and (holders := lock_holders(path)):
        what = f"is locked by {holders}"
    duplicate = isinstance(error, sqlite3.IntegrityError)
    kind = DuplicateKeyError if duplicate else StoreUnavailableError
    return kind(f"the ledger {path} {what}: {error}", hint=hint)


make_database: Final = FileDatabase
"""What `open_store` looks for in a module of this name."""
