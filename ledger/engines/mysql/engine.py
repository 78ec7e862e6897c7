"""MySQL and MariaDB as an engine: opening tenants, and read-only queries.

Invariant: a database is created only if the target says so; no message holds a password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ledger.dialects.steps import DialectName
from ledger.drivers import mysql
from ledger.drivers.mysql import quote_identifier
from ledger.drivers.mysql_errors import ConnectRefusedError, DriverError, QueryError
from ledger.drivers.url import MysqlUrl, SecretSource, Url
from ledger.engines.base import Capabilities, Scratch, Seen, Session, Target, within_limit
from ledger.engines.foreign import ForeignTable, literal
from ledger.engines.mysql.apply.attempt import ATTEMPTS
from ledger.engines.mysql.doctor.preflight import prepare
from ledger.engines.mysql.doctor.probe import probe
from ledger.engines.mysql.idle import Idle
from ledger.engines.mysql.lock.peek import different, owners
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.objects import Names
from ledger.engines.mysql.scratch import rehearsal
from ledger.engines.mysql.session import MysqlSession
from ledger.engines.mysql.shared import Shared
from ledger.engines.mysql.source import find
from ledger.engines.mysql.trouble import translated, unreachable
from ledger.engines.probes import Probe, Probed
from ledger.engines.source import Named, TenantSource
from ledger.errors import LedgerError, UnreachableError

NO_SUCH_DATABASE: Final = 1049
COLUMNS: Final = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}
"""
READ_ONLY: Final = "START TRANSACTION READ ONLY"


class MysqlEngine:
    """See ledger.engines.base.Engine. `connect_seconds` bounds TCP, TLS, handshake and a full
    server, `lock_seconds` the wait for a metadata lock, over all attempts.
    """

    dialect: DialectName = "mysql"
    capabilities = Capabilities(transactional_ddl=False)

    def __init__(self, *, connect_seconds: float = 10.0, lock_seconds: float = 30.0) -> None:
        self._connect_seconds = connect_seconds
        self._lock_wait_seconds = max(1, round(lock_seconds / ATTEMPTS))
        self._shared = Shared(connect_seconds=connect_seconds)
        self._idle = Idle()

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[Session]:
        """Open a tenant. Raises UnreachableError."""
        url = _database_of(target)
        connection = await self._connect(target, url)
        opened = Opened(target, url, connection, self._shared)
        try:
            yield MysqlSession(opened)
        finally:
            if opened.reusable:
                await self._idle.give_back(opened.connection, target, url)
            else:
                await opened.connection.aclose()

    async def _connect(self, target: Target, url: MysqlUrl) -> mysql.MysqlConnection:
        try:
            try:
                return await self._open(target, url)
            except ConnectRefusedError as error:
                if error.code != NO_SUCH_DATABASE or not (target.create or target.for_restore):
                    raise
            async with mysql.connect(url, target.secret, database="") as server:
                await server.execute(
                    f"CREATE DATABASE IF NOT EXISTS {quote_identifier(url.database or '')}"
                )
            return await self._open(target, url)
        except QueryError as error:
            raise UnreachableError(
                f"a statement of its session failed: {error}",
                hint=f"Correct `session` in {target.source}.",
                tenant=target.name,
            ) from error
        except DriverError as error:
            raise unreachable(error, target) from error
        except LedgerError as error:
            # The secret's source: this tenant cannot be opened, others may.
            raise UnreachableError(error.message, hint=error.hint, tenant=target.name) from error

    async def _open(self, target: Target, url: MysqlUrl) -> mysql.MysqlConnection:
        kept = await self._idle.take(
            target,
            url,
            seconds=self._connect_seconds,
            lock_wait_seconds=self._lock_wait_seconds,
        )
        return kept or await mysql.open_connection(
            url,
            target.secret,
            connect_seconds=self._connect_seconds,
            lock_wait_seconds=self._lock_wait_seconds,
            session=target.session,
        )

    @asynccontextmanager
    async def scratch(self, target: Target, folder: Path) -> AsyncIterator[Scratch]:
        """See Engine.scratch: a database beside the tenant's, with the same defaults."""
        async with rehearsal.scratch(target, connect_seconds=self._connect_seconds) as made:
            yield made

    async def changed(self, seen: Sequence[Seen]) -> set[str]:
        """See Engine.changed: by the markers, one query a server. An unreachable server's are all named."""
        changed: set[str] = set()
        by_name = {tenant.target.name: tenant for tenant in seen}
        for targets in _by_account([tenant.target for tenant in seen]):
            group = [by_name[target.name] for target in targets]
            try:
                async with self._server(targets[0]) as connection:
                    changed |= await different(connection, group)
            except (DriverError, LedgerError):
                # Each of them is opened by the run, which says what is wrong with it.
                changed |= {tenant.target.name for tenant in group}
        return changed

    async def owners(self, targets: Sequence[Target]) -> dict[str, str]:
        """See Engine.owners: by the markers, in few queries a server."""
        found: dict[str, str] = {}

        async def ask(group: Sequence[Target]) -> None:
            try:
                async with self._server(group[0]) as connection:
                    found.update(await owners(connection, group))
            except (DriverError, LedgerError):
                # What is wrong with the server is said where its tenants are opened.
                return

        async with anyio.create_task_group() as tasks:
            for group in _by_account(targets):
                tasks.start_soon(ask, group)
        return found

    @asynccontextmanager
    async def _server(self, target: Target) -> AsyncIterator[mysql.MysqlConnection]:
        """A connection to the tenant's server, without a database."""
        server = msgspec.structs.replace(_url_of(target), database=None)
        async with mysql.connect(
            server, target.secret, connect_seconds=self._connect_seconds
        ) as connection:
            yield connection

    async def preflight(
        self,
        targets: Sequence[Target],
        *,
        statement_bytes: int,
        statements: Sequence[str] = (),
    ) -> Sequence[Probe]:
        first = targets[0]
        try:
            async with self._server(first) as connection:
                return await prepare(
                    connection, targets, statement_bytes=statement_bytes, statements=statements
                )
        except DriverError as error:
            raise unreachable(error, first) from error
        except LedgerError as error:
            raise UnreachableError(error.message, hint=error.hint, tenant=first.name) from error

    async def probe(self, target: Target, *, quick: bool) -> Probed:
        """See Engine.probe; the configured session statements are not run."""
        url = _database_of(target)
        plain = msgspec.structs.replace(target, session=(), create=False, for_restore=False)
        connection = await self._connect(plain, url)
        try:
            with translated(target, "look at it"):
                names = Names(database=url.database or "", prefix=target.prefix)
                return await probe(connection, target, names, self._shared, quick=quick)
        finally:
            await connection.aclose()

    async def tenants(
        self, source: TenantSource, *, alone: bool, only: Collection[str] | None = None
    ) -> Sequence[Named]:
        if not isinstance(source.url, MysqlUrl):
            raise TypeError(f"the MySQL engine cannot search {source.url}")

        def ask(url: Url, sql: str) -> AsyncIterator[tuple[object, ...]]:
            return self.query(url, source.secret, sql)

        return await find(source, source.url, ask, only=only)

    def foreign_table(
        self, target: Target, table: str, *, registry: str | None = None, usual: str = ""
    ) -> ForeignTable:
        """See Engine.foreign_table: a registry is a database of the same server. The queries run in
        the tenant's own, since the registry may not be there."""
        database = registry or usual or _url_of(target).database
        if not database:
            raise _no_database(target)
        return ForeignTable(
            url=target.url,
            shown=f"{database}.{table}",
            name=f"{quote_identifier(database)}.{quote_identifier(table)}",
            columns=COLUMNS.format(schema=literal(database), table=literal(table)),
            quote=quote_identifier,
        )

    async def same_case(self, target: Target) -> bool:
        """See Engine.same_case: the server's setting decides."""
        rows = self.query(target.url, target.secret, "SELECT @@lower_case_table_names")
        return [row[0] async for row in rows] == [0]

    async def query(
        self,
        url: Url,
        secret: SecretSource,
        sql: str,
        *,
        limit: int = 1_000_000,
    ) -> AsyncIterator[tuple[object, ...]]:
        """Rows of a query in a transaction that cannot write.

        Raises UnreachableError, also if there are more than `limit` rows: a part
        of a fleet must not be taken for the whole.
        """
        if not isinstance(url, MysqlUrl):
            raise TypeError(f"the MySQL engine cannot query {url}")
        try:
            async with mysql.connect(
                url, secret, connect_seconds=self._connect_seconds
            ) as connection:
                await connection.execute(READ_ONLY)
                rows = await connection.fetch(sql)
        except (DriverError, LedgerError) as error:
            raise UnreachableError(
                f"the query on {url} failed: {error}",
                hint=error.hint if isinstance(error, LedgerError) else "Try it with the client.",
            ) from error
        for row in within_limit(rows, url, limit=limit):
            yield tuple(row)

    async def aclose(self) -> None:
        """Close what is kept, and forget the schemas seen."""
        await self._idle.aclose()
        self._shared = Shared(connect_seconds=self._connect_seconds)


def _by_account(targets: Sequence[Target]) -> list[list[Target]]:
    """Targets that one connection can read together: of one server and account."""
    groups: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        if isinstance(target.url, MysqlUrl):
            groups.setdefault((target.server, target.url.user), []).append(target)
    return list(groups.values())


def _url_of(target: Target) -> MysqlUrl:
    if not isinstance(target.url, MysqlUrl):
        raise TypeError(f"the MySQL engine cannot open {target.url}")
    return target.url


def _database_of(target: Target) -> MysqlUrl:
    """The target's URL. Raises UnreachableError if it names no database."""
    url = _url_of(target)
    if not url.database:
        raise _no_database(target)
    return url


def _no_database(target: Target) -> UnreachableError:
    return UnreachableError(
        "its URL names no database",
        hint=f"Name one in {target.source}, as mysql://user@host/database.",
        tenant=target.name,
    )
