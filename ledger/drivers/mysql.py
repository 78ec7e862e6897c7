"""aiomysql, with its traps closed.

Invariants: every wait has a deadline, the handshake included; a lost connection
stays lost (GET_LOCK went with it); one statement per execute, and no `%` is read
in text that came without arguments; no password leaves in clear unless the
connection is a socket or verified TLS, and none is in an exception. A cancelled or
overdue statement is KILLed from a second connection, since closing the socket does
not stop it; whether it landed is the caller's to find out.
"""

# The library has no types: what it returns is checked here.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypedDict, Unpack

import anyio
import msgspec
import pymysql

from ledger.drivers.mysql_errors import (
    ACCESS_DENIED,
    LOST,
    SERVER_FULL,
    ConnectionLostError,
    ConnectRefusedError,
    DriverError,
    QueryError,
    QueryTimeoutError,
    code_and_message,
)
from ledger.drivers.mysql_handshake import ServerInfo, handshake, server_info
from ledger.drivers.mysql_wire import GuardedConnection
from ledger.drivers.secrets import read_secret
from ledger.drivers.url import MysqlUrl, SecretSource
from ledger.errors import LedgerError

CONNECT_SECONDS: Final = 10.0
QUERY_SECONDS: Final = 30.0
KILL_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 5.0
LOCK_WAIT_SECONDS: Final = 5
"""`lock_wait_timeout` for metadata locks; the server's own default is a day."""

PROGRAM: Final = "ledger"
NO_SECRET: Final = SecretSource()
NO_DEADLINE: Final = math.inf

_NO_SUCH_THREAD: Final = 1094
# Without COLLATE: the collation is the one that the server's own client has there, which decides
# what literals and variables compare with, and what CREATE TABLE … AS and stored programs are made with.
_SESSION: Final = "SET NAMES utf8mb4, SESSION lock_wait_timeout = {seconds}, autocommit = 1"

Row = tuple[Any, ...]


class ServerWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A row of SHOW WARNINGS. `text` is in the language that the session's lc_messages asks for."""

    level: str
    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.level} {self.code}: {self.text}"


def quote_identifier(name: str) -> str:
    """A name in backticks, safe wherever an identifier may stand."""
    if not name or "\0" in name:
        raise ValueError(f"not a name that MySQL or MariaDB could hold: {name!r}")
    return "`" + name.replace("`", "``") + "`"


class MysqlConnection:
    """One direct session. Not for two tasks at once.

    Every method raises QueryError (refused), QueryTimeoutError or
    ConnectionLostError; after the last two the connection is closed for good.
    """

    def __init__(
        self, raw: GuardedConnection, *, url: MysqlUrl, secret: SecretSource, query_seconds: float
    ) -> None:
        self._raw: Any = raw
        self._url = url
        self._secret = secret
        self._query_seconds = query_seconds
        self._last_description: tuple[tuple[str, Any], ...] = ()
        self.thread_id: int = self._raw.thread_id()
        self.server: ServerInfo = server_info(self._raw.get_server_info())

    @property
    def closed(self) -> bool:
        """True after a loss, a deadline, a cancellation or the end of the block."""
        return bool(self._raw.closed)

    @property
    def in_transaction(self) -> bool:
        """What the server said with its last answer."""
        return bool(self._raw.get_transaction_status())

    @property
    def autocommit(self) -> bool:
        """False after SET autocommit = 0: any statement then opens a transaction."""
        return bool(self._raw.get_autocommit())

    @property
    def warning_count(self) -> int:
        """Warnings of the last statement; `warnings` asks for their text."""
        result = self._raw._result
        return int(result.warning_count or 0) if result is not None else 0

    @property
    def row_count(self) -> int:
        """What ROW_COUNT() would be now: the last statement's affected rows, -1 after an answer of rows."""
        result = self._raw._result
        if result is None or result.description is not None:
            return -1
        return int(result.affected_rows or 0)

    @property
    def made_id(self) -> bool:
        """Whether the last statement's answer names a number for an AUTO_INCREMENT column."""
        result = self._raw._result
        return result is not None and result.description is None and bool(result.insert_id)

    async def execute(
        self, sql: str, args: Sequence[object] | None = None, *, seconds: float | None = None
    ) -> int:
        """Run one statement and return how many rows it affected.

        Without `args` the text goes out as it is, `%` and all. `seconds` replaces
        the connection's deadline; `math.inf` is none.
        """
        await self._run(sql, args, seconds=seconds)
        return self._raw.affected_rows() or 0

    async def fetch(
        self, sql: str, args: Sequence[object] | None = None, *, seconds: float | None = None
    ) -> list[Row]:
        """Run one statement and return the rows of its first result set; empty if it has none."""
        return await self._run(sql, args, seconds=seconds)

    async def fetch_dicts(
        self, sql: str, args: Sequence[object] | None = None, *, seconds: float | None = None
    ) -> list[dict[str, Any]]:
        """As `fetch`, each row by its columns' names: for SELECT * where versions differ in columns."""
        rows = await self._run(sql, args, seconds=seconds)
        names = [field[0] for field in self._last_description]
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def columns(self, sql: str) -> list[tuple[int, int]]:
        """Run one query and return the protocol's type and flags of each column of its answer."""
        await self._run(sql, None, seconds=None)
        return [(field.type_code, field.flags) for field in self._raw._result.fields or ()]

    async def executemany(
        self, sql: str, rows: Sequence[Sequence[object]], *, seconds: float | None = None
    ) -> int:
        """Run `INSERT … VALUES (%s, …)` for all rows in as few statements as fit; rows affected."""

        async def run() -> int:
            cursor = await self._raw.cursor()
            try:
                return await cursor.executemany(sql, rows) or 0
            finally:
                await cursor.close()

        return int(await self._guard(run, seconds=seconds))

    def with_parameters(self, sql: str, args: Sequence[object] | None) -> str:
        """The text that is sent: `%s` replaced by escaped values; untouched without `args`."""
        if args is None:
            return sql
        return sql % tuple(self._raw.escape(value) for value in args)

    async def warnings(self) -> tuple[ServerWarning, ...]:
        """The last statement's warnings; asks only if there are any."""
        if not self.warning_count:
            return ()
        rows = await self._run("SHOW WARNINGS", None, seconds=None)
        return tuple(
            ServerWarning(level=str(level), code=int(code), text=str(text))
            for level, code, text, *_ in rows
        )

    async def begin(self) -> None:
        """Open a transaction."""
        await self._run("START TRANSACTION", None, seconds=None)

    async def commit(self) -> None:
        """Commit. A loss here means that nobody knows whether it was."""
        await self._run("COMMIT", None, seconds=None)

    async def rollback(self) -> None:
        """Roll back; nothing to do on a connection that is gone (the server does it)."""
        if not self.closed:
            await self._run("ROLLBACK", None, seconds=None)

    async def reset(self) -> None:
        """As it was after the handshake: locks, variables, temporary tables, a transaction are gone."""
        await self._guard(self._raw.reset_session, seconds=None)

    async def change_over(
        self, database: str, *, lock_wait_seconds: int, session: Sequence[str], seconds: float
    ) -> None:
        """Make a connection that was reset what `open_connection` gives. Raises ConnectRefusedError
        for the database, QueryError for a bad `session` statement.
        """

        async def use() -> None:
            await self._raw.select_db(database)

        try:
            await self._guard(use, seconds=seconds)
        except QueryError as error:
            raise ConnectRefusedError(error.code, error.message) from error
        await self._begin_session(lock_wait_seconds, session)

    async def _begin_session(self, lock_wait_seconds: int, session: Sequence[str]) -> None:
        await self.execute(_SESSION.format(seconds=int(lock_wait_seconds)))
        for statement in session:
            await self.execute(statement)

    async def kill(self, thread_id: int) -> None:
        """End another connection of the same user, from a connection of its own. Gone is fine."""
        await _kill(self._url, self._secret, thread_id)

    async def aclose(self) -> None:
        """Say goodbye, within a deadline."""
        if self.closed:
            return
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            # Where the server has gone first, there is nobody left to say goodbye to.
            with contextlib.suppress(OSError, pymysql.Error):
                await self._raw.ensure_closed()
        self._raw.close()

    async def _run(
        self, sql: str, args: Sequence[object] | None, *, seconds: float | None
    ) -> list[Row]:
        text = self.with_parameters(sql, args)

        async def run() -> list[Row]:
            await self._raw.query(text)
            result = self._raw._result
            rows = list(result.rows or ())
            self._last_description = result.description or ()
            # A CALL answers with several results, and its error may come with the last.
            while self._raw._result.has_next:
                await self._raw.next_result()
            return rows

        return list(await self._guard(run, seconds=seconds))

    async def _guard(self, run: Any, *, seconds: float | None) -> Any:
        limit = self._query_seconds if seconds is None else seconds
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + limit):
                return await run()
        except anyio.get_cancelled_exc_class():
            await self._abandon()
            raise
        except pymysql.Error as error:
            raise self._translate(error) from error
        except (OSError, RuntimeError, AttributeError, AssertionError) as error:
            # The answer could not be read to its end, or is not what a server says.
            self._raw.close()
            raise ConnectionLostError(
                2027, f"the server's answer broke off: {type(error).__name__}"
            ) from error
        await self._abandon()
        raise QueryTimeoutError(2013, f"no answer within {limit:g} s; the statement was killed")

    def _translate(self, error: pymysql.Error) -> DriverError:
        code, message = code_and_message(error)
        if code in LOST or self.closed or isinstance(error, pymysql.InterfaceError):
            self._raw.close()
            return ConnectionLostError(code, message)
        return QueryError(code, message)

    async def _abandon(self) -> None:
        """Close, and stop what the server would otherwise go on with; bounded and shielded."""
        self._raw.close()
        with anyio.move_on_after(KILL_SECONDS, shield=True):
            # The caller treats the outcome as unknown in any case: the kill only saves time.
            with contextlib.suppress(DriverError, LedgerError):
                await _kill(self._url, self._secret, self.thread_id)


class Options(TypedDict, total=False):
    """Of a connection: see `open_connection`."""

    database: str | None
    connect_seconds: float
    query_seconds: float
    lock_wait_seconds: int
    session: Sequence[str]


@contextlib.asynccontextmanager
async def connect(
    url: MysqlUrl, secret: SecretSource = NO_SECRET, **options: Unpack[Options]
) -> AsyncIterator[MysqlConnection]:
    """A session for the block; see `open_connection`."""
    connection = await open_connection(url, secret, **options)
    try:
        yield connection
    finally:
        await connection.aclose()


async def open_connection(
    url: MysqlUrl,
    secret: SecretSource = NO_SECRET,
    *,
    database: str | None = None,
    connect_seconds: float = CONNECT_SECONDS,
    query_seconds: float = QUERY_SECONDS,
    lock_wait_seconds: int = LOCK_WAIT_SECONDS,
    session: Sequence[str] = (),
    program: str = PROGRAM,
) -> MysqlConnection:
    """A session in autocommit mode, utf8mb4, on `database` (or the URL's); its owner must call `aclose`.

    `connect_seconds` covers everything up to the first usable moment, waiting for a
    free place on a full server included. A refused password is read from its source
    once more. `session` statements run at the start; `program` is the name that the server sees
    for this client. Raises ConnectRefusedError, ConfigError (the secret), and QueryError for a
    bad `session` statement.
    """
    name = database if database is not None else url.database
    password = await read_secret(secret)
    # Reading the secret has a limit of its own: it may wait for a person.
    deadline = anyio.current_time() + connect_seconds
    asked_again = False
    pause = 0.05
    while True:
        try:
            raw = await handshake(url, password, name, deadline=deadline, program=program)
            break
        except ConnectRefusedError as error:
            if error.code in ACCESS_DENIED and not asked_again:
                asked_again = True
                fresh = await read_secret(secret, refused=password)
                if fresh == password:
                    raise
                password = fresh
                deadline = anyio.current_time() + connect_seconds
            elif error.code in SERVER_FULL and anyio.current_time() + pause < deadline:
                await anyio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                raise
    connection = MysqlConnection(raw, url=url, secret=secret, query_seconds=query_seconds)
    try:
        await connection._begin_session(lock_wait_seconds, session)
    except BaseException:
        await connection.aclose()
        raise
    return connection


async def _kill(url: MysqlUrl, secret: SecretSource, thread_id: int) -> None:
    async with connect(
        url, secret, database="", connect_seconds=KILL_SECONDS, query_seconds=KILL_SECONDS
    ) as second:
        try:
            await second.execute(f"KILL {int(thread_id)}")
        except QueryError as error:
            if error.code != _NO_SUCH_THREAD:
                raise
