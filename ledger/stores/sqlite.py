"""The ledger in a SQLite file: WAL, synchronous=FULL, one connection to write and one to read.

Invariant: a write is one hop to the writer's thread and one transaction, begun
with BEGIN IMMEDIATE; nothing is told to a caller before its COMMIT returned.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import aiosqlite
import anyio

from ledger.drivers.sqlite import call, connect
from ledger.drivers.url import SqliteUrl
from ledger.errors import StoreUnavailableError
from ledger.events import Recorded
from ledger.projections import Fact
from ledger.stores.appender import Appender
from ledger.stores.base import (
    LEDGER_SCHEMA,
    PAGE_EVENTS,
    PAGE_SCRIPTS,
    Append,
    Filter,
    Head,
    Prepared,
    StoredProjection,
)
from ledger.stores.chain import Chained, Outcome, recorded, timestamp
from ledger.stores.filters import SQLITE, pages
from ledger.stores.migrations import ID_KEY, SCHEMA_KEY, SQLITE_UPGRADES, Upgrade
from ledger.stores.sqlite_schema import (
    cannot_change,
    is_busy,
    make_file,
    make_tables,
    read_meta,
    refuse_empty,
    refuse_missing,
    translate,
    upgrade_tables,
)
from ledger.stores.sqlite_write import (
    EVENT_COLUMNS,
    FACTS,
    SCRIPT,
    SCRIPTS,
    load_projection,
    read_head,
    save_projection,
    typed,
    write_batch,
)
from ledger.stores.tip import Guess

BUSY_SECONDS: Final = 20.0
"""How long a write waits for another process, in short steps that can be cancelled."""
APPEND_SECONDS: Final = 30.0
SCRIPTS_REMEMBERED: Final = 50_000
MEMORY: Final = ":memory:"

T = TypeVar("T")


class SqliteStore:
    """A `Store` in a file, or in memory. Made by `open_sqlite`."""

    def __init__(self, url: SqliteUrl, *, schema: int) -> None:
        self.url = str(url)
        self.ledger_id = ""
        self.appender = Appender(
            self._commit,
            deadline_seconds=APPEND_SECONDS,
            clock=lambda: timestamp(datetime.now(UTC)),
        )
        self._path = url.path
        self._schema = schema
        self._stack = AsyncExitStack()
        self._reader: aiosqlite.Connection | None = None
        self._writer: aiosqlite.Connection | None = None
        self._opening = anyio.Lock()
        self._closed = False
        self._scripts: set[str] = set()

    async def append(self, request: Append | Prepared) -> tuple[Recorded, ...]:
        """See `Store.append`."""
        return await self.appender.append(request)

    async def append_all(self, requests: Sequence[Prepared]) -> Sequence[Outcome]:
        """See `Store.append_all`."""
        return await self.appender.append_all(requests)

    async def read(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Recorded], None]:
        """See `Store.read`."""
        async for rows in pages(self._fetch, EVENT_COLUMNS, where, batch, SQLITE):
            yield recorded(typed(rows))

    async def read_facts(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Fact], None]:
        """See `Store.read_facts`."""
        async for rows in pages(self._fetch, FACTS, where, batch, SQLITE):
            yield rows

    async def head(self) -> Head:
        """See `Store.head`."""
        return await self._read(read_head)

    async def script(self, sha256: str) -> str | None:
        """See `Store.script`."""
        rows = await self._fetch(SCRIPT, (sha256,))
        return rows[0][0].decode(errors="replace") if rows else None

    async def scripts(self) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """See `Store.scripts`."""
        after = ""
        while rows := await self._fetch(SCRIPTS, (after, PAGE_SCRIPTS)):
            yield [(str(key), content) for key, content in rows]
            after = rows[-1][0]

    async def now(self) -> datetime:
        """See `Store.now`: this host's clock."""
        return datetime.now(UTC)

    async def load_projection(self, name: str) -> tuple[int, list[StoredProjection]]:
        """See `Store.load_projection`."""
        return await self._read(partial(load_projection, name=name))

    async def save_projection(
        self, name: str, *, base_seq: int, seq: int, changed: Sequence[StoredProjection]
    ) -> bool:
        """See `Store.save_projection`."""
        return await self._write(
            partial(
                save_projection,
                schema=self._schema,
                name=name,
                base_seq=base_seq,
                seq=seq,
                changed=changed,
            )
        )

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self.appender.aclose()
        self._closed = True
        self._reader = self._writer = None
        await self._stack.aclose()

    async def open(self, *, create: bool, upgrades: Sequence[Upgrade]) -> None:
        """Find or make the ledger, and bring an older one forward."""
        if self._path != MEMORY:
            (make_file if create else refuse_missing)(self._path)
        meta = await self._read(partial(read_meta, path=self._path))
        if meta is None:
            if not create:
                raise refuse_empty(self._path)
            now = timestamp(await self.now())
            meta = await self._write(partial(make_tables, path=self._path, now=now))
        if int(meta[SCHEMA_KEY]) < self._schema:
            meta = await self._write(
                partial(upgrade_tables, path=self._path, target=self._schema, upgrades=upgrades)
            )
        self.ledger_id = meta[ID_KEY]

    async def _commit(self, batch: Sequence[Prepared], guess: Guess | None) -> Chained:
        if len(self._scripts) > SCRIPTS_REMEMBERED:
            self._scripts.clear()
        chained = await self._write(
            partial(
                write_batch, batch=batch, schema=self._schema, stored=self._scripts, guess=guess
            )
        )
        self._scripts.update(
            script.sha256
            for prepared, outcome in zip(batch, chained.outcomes, strict=True)
            if isinstance(outcome, tuple)
            for script in prepared.scripts
        )
        return chained

    async def _fetch(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return await self._read(lambda db: db.execute(sql, values).fetchall())

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in the reader's thread. Raises StoreUnavailableError."""
        return await self._patiently(self._reading, function)

    async def _write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a transaction in the writer's thread. Raises StoreUnavailableError."""
        return await self._patiently(self._writing, function)

    async def _patiently(
        self,
        connection: Callable[[], Awaitable[aiosqlite.Connection]],
        function: Callable[[sqlite3.Connection], T],
    ) -> T:
        """Wait in short steps while another process holds the lock; retry nothing else."""
        deadline = anyio.current_time() + BUSY_SECONDS
        pause = 0.002
        while True:
            try:
                return await call(await connection(), function)
            except sqlite3.Error as error:
                if not is_busy(error) or anyio.current_time() + pause > deadline:
                    raise translate(error, path=self._path) from error
            await anyio.sleep(pause)
            pause = min(pause * 2, 0.05)

    async def _reading(self) -> aiosqlite.Connection:
        if self._reader is not None:
            return self._reader
        if self._path == MEMORY:
            return await self._writing()
        async with self._opening:
            if self._reader is None:
                self._refuse_when_closed()
                try:
                    self._reader = await self._connect("PRAGMA query_only = ON")
                except sqlite3.OperationalError:
                    if not cannot_change(self._path):
                        raise
                    self._reader = await self._connect("PRAGMA query_only = ON", immutable=True)
            return self._reader

    async def _writing(self) -> aiosqlite.Connection:
        if self._writer is not None:
            return self._writer
        async with self._opening:
            if self._writer is None:
                self._refuse_when_closed()
                self._writer = await self._connect(
                    "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"
                )
            return self._writer

    async def _connect(self, *pragmas: str, immutable: bool = False) -> aiosqlite.Connection:
        """A connection that is closed with the store, or at once if it turns out to be unusable."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connect(self._path, immutable=immutable))

            def prepare_connection(db: sqlite3.Connection) -> None:
                for pragma in pragmas:
                    db.execute(pragma)
                db.execute("SELECT count(*) FROM sqlite_master").fetchall()

            await call(connection, prepare_connection)
            self._stack.push_async_exit(stack.pop_all())
        return connection

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StoreUnavailableError(f"the ledger {self._path} was closed")


@asynccontextmanager
async def open_sqlite(
    url: SqliteUrl,
    *,
    create: bool = False,
    schema: int = LEDGER_SCHEMA,
    upgrades: Sequence[Upgrade] = SQLITE_UPGRADES,
) -> AsyncIterator[SqliteStore]:
    """Open a ledger file; with `create`, make it first if there is none (its folder must exist).

    A ledger older than `schema` is brought forward by `upgrades`; a newer one can
    be read. Raises StoreUnavailableError.
    """
    store = SqliteStore(url, schema=schema)
    try:
        await store.open(create=create, upgrades=upgrades)
        yield store
    finally:
        await store.aclose()
