"""SQLite as an engine: opening tenants, and read-only queries.

Invariant: a file that does not exist is created only if the target says so, and
nothing but a regular file is ever opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ledger.dialects.steps import MARKER_TABLE, DialectName
from ledger.drivers.sqlite import call, connect, looking
from ledger.drivers.url import SecretSource, SqliteUrl, Url
from ledger.engines.base import Capabilities, Scratch, Seen, Session, Target, within_limit
from ledger.engines.foreign import ForeignTable, literal
from ledger.engines.probes import Probe, Probed
from ledger.engines.source import Named, TenantSource
from ledger.engines.sqlite.connection import equip_for
from ledger.engines.sqlite.folders import remove_database
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.marker import read_owner
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.peek import Descriptors, differs, may_have, open_files
from ledger.engines.sqlite.probe import probe
from ledger.engines.sqlite.schema.introspect import SchemaCache
from ledger.engines.sqlite.session import SqliteSession
from ledger.engines.sqlite.source import find
from ledger.engines.sqlite.tenant_file import path_of, require_file
from ledger.engines.sqlite.trouble import (
    DAMAGED,
    LOCK_SECONDS,
    BusyError,
    locked,
    primary_code,
    unusable,
)
from ledger.errors import UnreachableError

BUSY_TIMEOUT_MS: Final = 50
"""How long SQLite itself waits for a lock, in the thread; beyond that we wait outside of it."""

LOOKED_AT_ONCE: Final = 64
"""Files whose headers are read between two listings of which of them this process has open."""


class SqliteEngine:
    """See ledger.engines.base.Engine. `lock_seconds` bounds the wait for other connections' locks;
    opening a file needs no deadline, so that `connect_seconds` says nothing here.
    """

    dialect: DialectName = "sqlite"
    capabilities = Capabilities(transactional_ddl=True)

    def __init__(
        self, *, connect_seconds: float = 10.0, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self._lock_seconds = lock_seconds
        self._cache = SchemaCache()
        self._descriptors = Descriptors()

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[Session]:
        """Open a tenant. Raises UnreachableError if it is missing, no database, or not to be read.

        With `target.for_restore` a missing or damaged file gives a session on
        which only `restore` works.
        """
        path = path_of(target)
        async with AsyncExitStack() as stack:
            opened = Opened(
                Inside(target, path, cache=self._cache, descriptors=self._descriptors),
                partial(connect, path, busy_timeout_ms=BUSY_TIMEOUT_MS),
                stack,
                lock_seconds=self._lock_seconds,
            )
            try:
                require_file(target, path)
                await opened.connect()
            except FileNotFoundError as error:
                opened.damage = _missing(target, path)
                if not target.for_restore:
                    raise opened.damage from error
            except sqlite3.Error as error:
                opened.damage = unusable(error, tenant=target.name, doing=f"open {path}", path=path)
                if not target.for_restore or primary_code(error) not in DAMAGED:
                    raise opened.damage from error
            yield SqliteSession(opened)

    @asynccontextmanager
    async def scratch(self, target: Target, folder: Path) -> AsyncIterator[Scratch]:
        """See Engine.scratch: a file of its own, which a restore will make."""
        path = folder / "tenant.db"
        try:
            yield Scratch(
                target=msgspec.structs.replace(target, url=SqliteUrl(path=str(path)), create=False)
            )
        finally:
            remove_database(path)

    async def changed(self, seen: Sequence[Seen]) -> set[str]:
        """See Engine.changed: by the files' headers, all of them in one hop to a thread."""

        def read() -> set[str]:
            found = set()
            for start in range(0, len(seen), LOOKED_AT_ONCE):
                # Asked again and again, since the application around us opens databases too.
                here = open_files()
                for tenant in seen[start : start + LOOKED_AT_ONCE]:
                    if differs(path_of(tenant.target), tenant.mark, here):
                        found.add(tenant.target.name)
            return found

        return await anyio.to_thread.run_sync(read)

    async def owners(self, targets: Sequence[Target]) -> dict[str, str]:
        """See Engine.owners: all files in one hop to a thread, most without opening the database."""

        def read() -> dict[str, str]:
            found = {}
            for start in range(0, len(targets), LOOKED_AT_ONCE):
                here = open_files()
                for target in targets[start : start + LOOKED_AT_ONCE]:
                    path = path_of(target)
                    if may_have(path, MARKER_TABLE, here) and (owner := read_owner(path)):
                        found[target.name] = owner
            return found

        return await anyio.to_thread.run_sync(read)

    async def preflight(
        self,
        targets: Sequence[Target],
        *,
        statement_bytes: int,
        statements: Sequence[str] = (),
    ) -> Sequence[Probe]:
        """A file has no server; disks are checked by the runner."""
        return ()

    async def probe(self, target: Target, *, quick: bool) -> Probed:
        """See Engine.probe; the file is opened for reading only."""
        path = path_of(target)
        read_only = msgspec.structs.replace(target, create=False)
        try:
            require_file(read_only, path)
            equipped = partial(equip_for, target=target)
            async with looking(path, busy_timeout_ms=5000, prepare=equipped) as connection:
                return await call(
                    connection, lambda database: probe(database, target, path, quick=quick)
                )
        except FileNotFoundError as error:
            raise _missing(target, path) from error
        except BusyError as error:
            raise locked(tenant=target.name, path=path, doing="look", seconds=5.0) from error
        except sqlite3.Error as error:
            raise unusable(error, tenant=target.name, doing=f"read {path}", path=path) from error

    async def tenants(
        self, source: TenantSource, *, alone: bool, only: Collection[str] | None = None
    ) -> Sequence[Named]:
        return await anyio.to_thread.run_sync(partial(find, source, alone=alone, only=only))

    def foreign_table(
        self, target: Target, table: str, *, registry: str | None = None, usual: str = ""
    ) -> ForeignTable:
        """See Engine.foreign_table: a registry is a file beside the tenant's."""
        file = registry or (f"{usual}.db" if usual else "")
        path = Path(path_of(target))
        path = path.parent / file if file else path
        return ForeignTable(
            url=SqliteUrl(path=str(path)),
            shown=f"{table} in {path.name}",
            name=_backticked(table),
            columns=f"SELECT name FROM pragma_table_info({literal(table)})",  # noqa: S608
            quote=_backticked,
            reachable=path.is_file(),
        )

    async def same_case(self, target: Target) -> bool:
        """See Engine.same_case."""
        return False

    async def query(
        self,
        url: Url,
        secret: SecretSource,
        sql: str,
        *,
        limit: int = 1_000_000,
    ) -> AsyncIterator[tuple[object, ...]]:
        """Rows of a read-only query, read in one go before the first is given.

        Raises UnreachableError, also if there are more than `limit` rows: a part
        of a fleet must not be taken for the whole.
        """
        if not isinstance(url, SqliteUrl):
            raise TypeError(f"the SQLite engine cannot query {url}")

        def read(database: sqlite3.Connection) -> list[tuple[object, ...]]:
            return database.execute(sql).fetchmany(limit + 1)

        try:
            async with looking(url.path, busy_timeout_ms=5000) as connection:
                rows = await call(connection, read)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise unusable(error, tenant=str(url), doing="run the query", path=url.path) from error
        for row in within_limit(rows, url, limit=limit):
            yield row

    async def aclose(self) -> None:
        """Forget the schemas seen."""
        self._cache.clear()


def _backticked(name: str) -> str:
    """An identifier; unlike one in double quotes it is never taken for a string."""
    return "`" + name.replace("`", "``") + "`"


def _missing(target: Target, path: str) -> UnreachableError:
    return UnreachableError(
        f"there is no file {path}",
        hint=f"Check the path in {target.source}, or set create = true there to begin "
        "with an empty database.",
        tenant=target.name,
    )
