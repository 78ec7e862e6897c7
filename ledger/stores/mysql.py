"""The ledger in MySQL or MariaDB, for several hosts: one connection to append and one to read.

Invariant: an append whose outcome got lost with its connection is settled by
event id before anything is told or tried again; there is never a second one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import anyio

from ledger.drivers.mysql import (
    PROGRAM,
    ConnectionLostError,
    ConnectRefusedError,
    DriverError,
    MysqlConnection,
    QueryError,
    QueryTimeoutError,
    Row,
    open_connection,
    quote_identifier,
)
from ledger.drivers.url import MysqlUrl, SecretSource
from ledger.errors import StoreError, StoreUnavailableError
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
from ledger.stores.chain import Chained, Outcome, recorded
from ledger.stores.filters import MYSQL, pages
from ledger.stores.migrations import ID_KEY, MYSQL_UPGRADES, SCHEMA_KEY, Upgrade
from ledger.stores.mysql_holders import (
    IDLE_SECONDS,
    LOCK_WAIT,
    WRITER,
    end_idle_writers,
    locked_out,
)
from ledger.stores.mysql_schema import (
    make_tables,
    read_meta,
    refuse_galera,
    refuse_missing,
    translate,
    upgrade_tables,
)
from ledger.stores.mysql_write import (
    EVENT_COLUMNS,
    FACTS,
    SCRIPT,
    SCRIPTS,
    load_projection,
    read_head,
    save_projection,
    write_batch,
)
from ledger.stores.tip import Guess, Tip

CONNECT_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 8.0
READ_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 25.0
"""How long a write is tried, over lost connections, deadlocks and a server's restart."""
APPEND_SECONDS: Final = 35.0
SCRIPTS_REMEMBERED: Final = 50_000

_SESSION: Final = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    # A holder of the head row that is stopped in its transaction must not hold up the others longer
    # than they wait. MariaDB ends it, and reads the comment; elsewhere they do (mysql_holders.py).
    "SET SESSION innodb_lock_wait_timeout = 5"
    f" /*M!100300 , idle_transaction_timeout = {IDLE_SECONDS} */",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
)
_WRITER_SESSION: Final = (*_SESSION, "SET SESSION autocommit = 0")
"""Its first statement opens a transaction: a round trip less for every batch."""
_UNKNOWN_DATABASE: Final = 1049
_GAVE_WAY: Final = frozenset({1205, 1213, 1020})
"""Lock wait timeout, deadlock, record has changed: rolled back as a whole and done again."""
_COMES_BACK: Final = frozenset({0, 1040, 1053, 1203, 1226, 2002, 2003, 2006, 2012, 2013})
"""Refusals to connect that a restarting or full server gives; wrong passwords are not among them."""

T = TypeVar("T")
Work = Callable[[MysqlConnection, bool], Awaitable[T]]
"""A transaction. The flag says that an earlier try of it may have been committed."""


class MysqlStore:
    """A `Store` on a server. Made by `open_mysql`."""

    def __init__(self, url: MysqlUrl, secret: SecretSource, *, schema: int) -> None:
        self.url = str(url)
        self.ledger_id = ""
        self.appender = Appender(
            self._commit, deadline_seconds=APPEND_SECONDS, refuse=self._refuse_oversized
        )
        self._address = url
        self._secret = secret
        self._schema = schema
        self._packet_bytes = 0
        self._writer: MysqlConnection | None = None
        self._reader: MysqlConnection | None = None
        self._writer_lock = anyio.Lock()
        self._reader_lock = anyio.Lock()
        self._closed = False
        self._scripts: set[str] = set()
        self._tip = Tip()

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
        async for rows in pages(self._fetch, EVENT_COLUMNS, where, batch, MYSQL):
            yield recorded(rows)

    async def read_facts(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Fact], None]:
        """See `Store.read_facts`."""
        async for rows in pages(self._fetch, FACTS, where, batch, MYSQL):
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
        """See `Store.now`: the server's clock."""
        ((now,),) = await self._fetch("SELECT UTC_TIMESTAMP(6)", ())
        moment: datetime = now.replace(tzinfo=UTC)
        return moment

    async def load_projection(self, name: str) -> tuple[int, list[StoredProjection]]:
        """See `Store.load_projection`."""
        return await self._read(partial(load_projection, name=name))

    async def save_projection(
        self, name: str, *, base_seq: int, seq: int, changed: Sequence[StoredProjection]
    ) -> bool:
        """See `Store.save_projection`."""

        async def save(connection: MysqlConnection, again: bool) -> bool:
            # Done again after a lost acknowledgement it would find its own work and say False,
            # which is harmless: the caller then loads what is there.
            return await save_projection(
                connection,
                schema=self._schema,
                name=name,
                base_seq=base_seq,
                seq=seq,
                changed=changed,
                packet_bytes=self._packet_bytes,
            )

        return await self._write(save)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self.appender.aclose()
        self._closed = True
        for connection in (self._writer, self._reader):
            if connection is not None:
                await connection.aclose()
        self._writer = self._reader = None

    async def open(self, *, create: bool, upgrades: Sequence[Upgrade]) -> None:
        """Find or make the ledger, and bring an older one forward."""
        url = self._address
        if url.database is None:
            raise StoreUnavailableError(
                f"the ledger's url {url} names no database",
                hint="Write mysql://user@host/database.",
            )
        try:
            connection = await self._connect_or_create(create=create)
            # It serves the reads of most commands; an append opens its own.
            self._reader = connection
            await refuse_galera(connection, url)
            meta = await read_meta(connection, url)
            if meta is None:
                if not create:
                    raise refuse_missing(url)
                meta = await make_tables(connection, url)
            if int(meta[SCHEMA_KEY]) < self._schema:
                meta = await upgrade_tables(connection, url, target=self._schema, upgrades=upgrades)
            self.ledger_id = meta[ID_KEY]
            ((packet,),) = await connection.fetch("SELECT @@max_allowed_packet")
            self._packet_bytes = int(packet)
        except DriverError as error:
            raise translate(error, url) from error

    async def _connect_or_create(self, *, create: bool) -> MysqlConnection:
        try:
            return await self._connect()
        except ConnectRefusedError as error:
            if error.code != _UNKNOWN_DATABASE:
                raise
            if not create:
                raise refuse_missing(self._address) from error
        connection = await open_connection(self._address, self._secret, database="")
        try:
            await connection.execute(
                f"CREATE DATABASE IF NOT EXISTS {quote_identifier(self._address.database or '')} "
                "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            )
        finally:
            await connection.aclose()
        return await self._connect()

    async def _connect(
        self, session: Sequence[str] = _SESSION, program: str = PROGRAM
    ) -> MysqlConnection:
        if self._closed:
            raise StoreUnavailableError(f"the ledger {self.url} was closed")
        return await open_connection(
            self._address,
            self._secret,
            connect_seconds=CONNECT_SECONDS,
            query_seconds=QUERY_SECONDS,
            session=session,
            program=program,
        )

    def _refuse_oversized(self, prepared: Prepared) -> None:
        """One row is one statement at least, and a statement is one packet."""
        largest = max(
            [len(event[-1]) for event in prepared.events]
            + [len(script.content) for script in prepared.scripts]
        )
        if largest > self._packet_bytes - 64 * 1024:
            raise StoreError(
                f"an event or a text of {largest:,} bytes for stream {prepared.stream} does "
                f"not fit into the ledger server's max_allowed_packet ({self._packet_bytes:,} bytes)",
                hint="Raise max_allowed_packet on the ledger's server.",
            )

    async def _commit(self, batch: Sequence[Prepared], guess: Guess | None) -> Chained:
        if len(self._scripts) > SCRIPTS_REMEMBERED:
            self._scripts.clear()

        async def work(connection: MysqlConnection, again: bool) -> Chained:
            return await write_batch(
                connection,
                batch=batch,
                schema=self._schema,
                stored=self._scripts,
                packet_bytes=self._packet_bytes,
                again=again,
                tip=self._tip,
            )

        chained = await self._write(work)
        self._scripts.update(
            script.sha256
            for prepared, outcome in zip(batch, chained.outcomes, strict=True)
            if isinstance(outcome, tuple)
            for script in prepared.scripts
        )
        return chained

    async def _fetch(self, sql: str, values: Sequence[object]) -> list[Row]:
        return await self._read(
            lambda connection: connection.fetch(sql, values, seconds=READ_SECONDS)
        )

    async def _read(self, function: Callable[[MysqlConnection], Awaitable[T]]) -> T:
        """Run a query on the reading connection, and once more on a new one if that was lost."""
        async with self._reader_lock:
            try:
                if self._reader is not None and not self._reader.closed:
                    try:
                        return await function(self._reader)
                    except ConnectionLostError:
                        await self._reader.aclose()
                self._reader = await self._connect()
                return await function(self._reader)
            except DriverError as error:
                raise translate(error, self._address) from error

    async def _write(self, work: Work[T]) -> T:
        """Run a transaction until it is known to be committed, within WRITE_SECONDS.

        Raises StoreUnavailableError. Only what is settled by doing it again is done
        again: a lost connection, a lock that was not given, a server that restarts.
        """
        deadline = anyio.current_time() + WRITE_SECONDS
        pause = 0.01
        again = False
        async with self._writer_lock:
            while True:
                try:
                    if self._writer is None or self._writer.closed:
                        self._writer = await self._connect(_WRITER_SESSION, WRITER)
                    return await work(self._writer, again)
                except DriverError as error:
                    late = anyio.current_time() + pause > deadline
                    if error.code == LOCK_WAIT:
                        # On the reading connection: a look must not begin the next transaction.
                        if late:
                            raise await self._read(
                                partial(locked_out, url=self._address)
                            ) from error
                        with suppress(StoreUnavailableError):
                            await self._read(end_idle_writers)
                    elif late or not _may_pass(error):
                        raise translate(error, self._address) from error
                    again = again or not isinstance(error, (QueryError, ConnectRefusedError))
                await anyio.sleep(pause)
                pause = min(pause * 2, 0.5)


@asynccontextmanager
async def open_mysql(
    url: MysqlUrl,
    secret: SecretSource,
    *,
    create: bool = False,
    schema: int = LEDGER_SCHEMA,
    upgrades: Sequence[Upgrade] = MYSQL_UPGRADES,
) -> AsyncIterator[MysqlStore]:
    """Open the ledger in `url.database`; with `create`, make the database and its tables if missing.

    A ledger older than `schema` is brought forward by `upgrades`; a newer one can
    be read. Raises StoreUnavailableError.
    """
    store = MysqlStore(url, secret, schema=schema)
    try:
        await store.open(create=create, upgrades=upgrades)
        yield store
    finally:
        await store.aclose()


def _may_pass(error: DriverError) -> bool:
    if isinstance(error, ConnectRefusedError):
        return error.code in _COMES_BACK
    return isinstance(error, (ConnectionLostError, QueryTimeoutError)) or error.code in _GAVE_WAY
