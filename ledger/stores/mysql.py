"""A ledger in MySQL or MariaDB, for several hosts: one connection to append and one to read.

Invariant: a transaction whose outcome got lost with its connection is done again, and says so
to its work, before anybody is answered. DDL commits by itself here, so that a ledger is made of
statements that may be repeated, by one process at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from ledger.drivers.mysql import PROGRAM, MysqlConnection, open_connection, quote_identifier
from ledger.drivers.mysql_errors import (
    ConnectionLostError,
    ConnectRefusedError,
    DriverError,
    QueryError,
    QueryTimeoutError,
)
from ledger.drivers.url import MysqlUrl, SecretSource
from ledger.errors import NoLedgerError, StoreError, StoreUnavailableError
from ledger.stores.base import MAKE_HINT, Connection, Prepared, Row
from ledger.stores.mysql_server import (
    IDLE_SECONDS,
    LOCK_WAIT,
    WRITER,
    end_idle_writers,
    locked_out,
    refuse_galera,
    translated,
)
from ledger.stores.mysql_sql import SPELLING, TRIGGERS, ServerConnection

CONNECT_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 8.0
READ_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 25.0
"""How long a write is tried, over lost connections, deadlocks and a server's restart."""
ROLLBACK_SECONDS: Final = 5.0
MAKE_SECONDS: Final = 60

_SESSION: Final = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    # A holder of the head row that is stopped in its transaction must not hold up the others longer
    # than they wait. MariaDB ends it, and reads the comment; elsewhere they do (mysql_server.py).
    "SET SESSION innodb_lock_wait_timeout = 5"
    f" /*M!100300 , idle_transaction_timeout = {IDLE_SECONDS} */",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
)
_WRITER_SESSION: Final = (*_SESSION, "SET SESSION autocommit = 0")
"""Its first statement opens a transaction: a round trip less for every batch."""

_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
_UNLOCK: Final = "SELECT RELEASE_LOCK(%s)"

_UNKNOWN_DATABASE: Final = 1049
_GAVE_WAY: Final = frozenset({1205, 1213, 1020})
"""Lock wait timeout, deadlock, record has changed: rolled back as a whole and done again."""
_COMES_BACK: Final = frozenset({0, 1040, 1053, 1203, 1226, 2002, 2003, 2006, 2012, 2013})
"""Refusals to connect that a restarting or full server gives; wrong passwords are not among them."""

T = TypeVar("T")


class ServerDatabase:
    """A `Database` on a server."""

    spelling = SPELLING
    triggers: Sequence[str] = TRIGGERS

    def __init__(self, url: MysqlUrl, secret: SecretSource) -> None:
        self.url = str(url)
        self._address = url
        self._secret = secret
        self._packet_bytes = 0
        self._writer: MysqlConnection | None = None
        self._reader: MysqlConnection | None = None
        self._writer_lock = anyio.Lock()
        self._reader_lock = anyio.Lock()
        self._closed = False

    async def open(self, *, create: bool) -> None:
        """See `Database.open`. The connection serves the reads of most commands; a write opens its own."""
        if self._address.database is None:
            raise StoreUnavailableError(
                f"the ledger's url {self.url} names no database",
                hint="Write mysql://user@host/database.",
            )
        try:
            self._reader = await self._connect_or_create(create=create)
            await refuse_galera(self._reader, self._address)
            ((packet,),) = await self._reader.fetch("SELECT @@max_allowed_packet")
            self._packet_bytes = int(packet)
        except DriverError as error:
            raise translated(error, self._address) from error

    async def aclose(self) -> None:
        """See `Database.aclose`."""
        self._closed = True
        for connection in (self._writer, self._reader):
            if connection is not None:
                await connection.aclose()
        self._writer = self._reader = None

    async def read(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """See `Database.read`."""
        return await self._read(
            lambda connection: work(ServerConnection(connection, self._packet_bytes))
        )

    async def fetch(self, sql: str, values: Sequence[object]) -> list[Row]:
        """See `Database.fetch`."""
        text = sql.replace("?", "%s")
        return await self._read(
            lambda connection: connection.fetch(text, values, seconds=READ_SECONDS)
        )

    async def write(self, work: Callable[[Connection, bool], Coroutine[Any, Any, T]]) -> T:
        """See `Database.write`. Only what is settled by doing it again is done again: a lost
        connection, a lock that was not given, a server that restarts.
        """
        deadline = anyio.current_time() + WRITE_SECONDS
        pause = 0.01
        again = False
        async with self._writer_lock:
            while True:
                try:
                    if self._writer is None or self._writer.closed:
                        self._writer = await self._connect(_WRITER_SESSION, WRITER)
                    async with _transaction(self._writer):
                        return await work(ServerConnection(self._writer, self._packet_bytes), again)
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
                        raise translated(error, self._address) from error
                    again = again or not isinstance(error, (QueryError, ConnectRefusedError))
                await anyio.sleep(pause)
                pause = min(pause * 2, 0.5)

    async def make(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """See `Database.make`: under a lock by name."""
        name = hashlib.sha256((self._address.database or "").encode()).hexdigest()[:32]

        async def locked(connection: MysqlConnection) -> T:
            ((got,),) = await connection.fetch(
                _LOCK, ("ledger-" + name, MAKE_SECONDS), seconds=MAKE_SECONDS + 5
            )
            if got != 1:
                raise StoreUnavailableError(
                    "another process has been making or upgrading the ledger on "
                    f"{self._address.server} for over {MAKE_SECONDS} s",
                    hint="See what it does (SHOW PROCESSLIST), then run the command again.",
                )
            try:
                return await work(ServerConnection(connection, self._packet_bytes))
            finally:
                # A connection that is gone has freed its lock by that.
                if not connection.closed:
                    await connection.fetch(_UNLOCK, ("ledger-" + name,))

        return await self._read(locked)

    async def now(self) -> datetime:
        """See `Database.now`: the server's clock."""
        ((now,),) = await self.fetch("SELECT UTC_TIMESTAMP(6)", ())
        moment: datetime = now.replace(tzinfo=UTC)
        return moment

    def refuse(self, request: Prepared) -> None:
        """See `Database.refuse`: a row is one statement at least, and a statement is one packet."""
        largest = max(
            [len(event[-1]) for event in request.events]
            + [len(script.content) for script in request.scripts]
        )
        if largest > self._packet_bytes - 64 * 1024:
            raise StoreError(
                f"an event or a text of {largest:,} bytes for stream {request.stream} does "
                f"not fit into the ledger server's max_allowed_packet ({self._packet_bytes:,} bytes)",
                hint="Raise max_allowed_packet on the ledger's server.",
            )

    def missing(self) -> NoLedgerError:
        """See `Database.missing`."""
        where = f"the database {self._address.database} on {self._address.server}"
        return NoLedgerError(f"there is no ledger in {where}", hint=MAKE_HINT)

    def foreign(self) -> StoreUnavailableError:
        """See `Database.foreign`."""
        return StoreUnavailableError(
            f"the database {self._address.database} on {self._address.server} has tables named "
            "like a ledger's, but is not a ledger",
            hint="Give the ledger a database of its own (`url` in the configuration).",
        )

    async def _connect_or_create(self, *, create: bool) -> MysqlConnection:
        try:
            return await self._connect()
        except ConnectRefusedError as error:
            if error.code != _UNKNOWN_DATABASE:
                raise
            if not create:
                raise self.missing() from error
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

    async def _read(self, function: Callable[[MysqlConnection], Coroutine[Any, Any, T]]) -> T:
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
                raise translated(error, self._address) from error


@asynccontextmanager
async def _transaction(connection: MysqlConnection) -> AsyncIterator[None]:
    """Commit at the end of the block; roll back, within a deadline, if it raises.

    The connection does not commit by itself, so that the first statement begins.
    """
    try:
        yield
        await connection.commit()
    except BaseException as error:
        with anyio.move_on_after(ROLLBACK_SECONDS, shield=True):
            try:
                await connection.rollback()
            except DriverError as second:
                error.add_note(f"The rollback failed too: {second}")
        raise


def _may_pass(error: DriverError) -> bool:
    if isinstance(error, ConnectRefusedError):
        return error.code in _COMES_BACK
    return isinstance(error, (ConnectionLostError, QueryTimeoutError)) or error.code in _GAVE_WAY


make_database: Final = ServerDatabase
"""What `open_store` looks for in a module of this name."""
