"""An open SQLite tenant: what `Session` promises, by the operations below.

Nothing but the engine imports this; operations are given the `Opened` that is open.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread

from ledger import failpoints
from ledger.dialects.steps import Check, Step
from ledger.engines.base import Backup
from ledger.engines.checks import require_fingerprint
from ledger.engines.measured import Plan
from ledger.engines.sqlite.apply import python, stepwise, transaction
from ledger.engines.sqlite.apply.settings import take_encoding
from ledger.engines.sqlite.backup import backup as backups
from ledger.engines.sqlite.backup import restore
from ledger.engines.sqlite.explain import explain
from ledger.engines.sqlite.maintain.maintain import SqliteMaintenance
from ledger.engines.sqlite.marker import (
    CREATE_MARKER,
    admit,
    put_fence,
    read_marker,
    replace_entries,
)
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.schema import sync
from ledger.engines.sqlite.schema.ddl import quoted
from ledger.engines.sqlite.steps import marks_connection, run_checks, snapshot
from ledger.engines.work import Done, Journal, Marker, Work
from ledger.events import CheckResult, Mark, MigrationRef
from ledger.schema import Schema
from ledger.scripts.created import Owned
from ledger.scripts.model import Migration
from ledger.sync.steps import SyncPlan


class SqliteSession:
    """See ledger.engines.base.Session."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._inside = opened.inside
        self._tenant = opened.tenant
        self._marked = False

    async def marker(self) -> Marker:
        """What the tenant remembers; reads only."""
        return await self._opened.read(
            lambda database: read_marker(database, tenant=self._tenant), doing="read the marker"
        )

    async def fence(self, *, epoch: int, ledger: str) -> Marker:
        """Set the fence and return what was there before. Raises FencedError, having written nothing."""

        def write(database: sqlite3.Connection, found: Marker) -> Marker:
            admit(found, epoch=epoch, ledger=ledger, tenant=self._tenant)
            database.execute(CREATE_MARKER)
            put_fence(database, found, epoch=epoch, ledger=ledger)
            return found

        return await self._opened.write(write, doing="set the fence")

    async def require_read_alike(self, migrations: Sequence[Migration], *, down: bool) -> None:
        """See Session.require_read_alike: SQLite has one way to read a text."""

    async def apply(
        self, work: Work, journal: Journal, *, known: frozenset[str] = frozenset()
    ) -> Done:
        """See ledger.engines.base.Session.apply; a migration finds a connection that no other has marked."""
        if self._marked:
            await self._opened.reconnect()
        self._marked = work.python is not None or any(
            marks_connection(step.sql) for step in work.section.steps
        )
        if work.python is not None:
            return await python.apply(self._opened, work, journal, known)
        await take_encoding(self._opened, work)
        if work.section.transaction:
            return await transaction.apply(self._opened, work, journal, known)
        return await stepwise.apply(self._opened, work, journal, known)

    async def adopt(self, refs: Sequence[MigrationRef], *, epoch: int, ledger: str) -> Mark:
        """Make the marker say that exactly `refs` are applied.

        A tenant of another ledger becomes this one's, whatever its fence was:
        the other ledger's runners are refused from here on by its id.
        """

        def write(database: sqlite3.Connection, found: Marker) -> Mark:
            if found.ledger in ("", ledger):
                admit(found, epoch=epoch, ledger=ledger, tenant=self._tenant)
            return self._replace_entries(database, found, refs, epoch=epoch, ledger=ledger)

        return await self._opened.write(write, doing="write the marker", then=self._inside.complete)

    async def drop(self, objects: Sequence[Owned], *, epoch: int, ledger: str) -> Mark:
        """See Session.drop; all of it is one transaction."""

        def write(database: sqlite3.Connection, found: Marker) -> Mark:
            admit(found, epoch=epoch, ledger=ledger, tenant=self._tenant)
            for owned in objects:
                database.execute(f"DROP {owned.kind.upper()} IF EXISTS main.{quoted(owned.name)}")
                failpoints.reach("engine.in_transaction")
            return self._replace_entries(database, found, (), epoch=epoch, ledger=ledger)

        # DROP TABLE would delete the rows one by one, and what refers to them.
        return await self._opened.write(
            write,
            doing="drop what migrations created",
            deletes=True,
            then=self._inside.complete,
        )

    def _replace_entries(
        self,
        database: sqlite3.Connection,
        found: Marker,
        refs: Sequence[MigrationRef],
        *,
        epoch: int,
        ledger: str,
    ) -> Mark:
        """The marker with the fence and `refs` alone, and the tenant's mark with it."""
        database.execute(CREATE_MARKER)
        put_fence(database, found, epoch=epoch, ledger=ledger)
        replace_entries(database, found, refs, epoch=epoch)
        return self._inside.marked(database)[0]

    async def check(self, checks: Sequence[Check]) -> tuple[CheckResult, ...]:
        """Run checks in one snapshot; a check that cannot run has not passed."""
        stop = threading.Event()

        def read(database: sqlite3.Connection) -> tuple[CheckResult, ...]:
            with snapshot(database):
                return run_checks(database, checks, stop)

        return await self._opened.run(read, doing="run the checks", stop=stop)

    async def explain(self, queries: Sequence[str]) -> tuple[Plan, ...]:
        return await self._opened.read(
            lambda database: explain(database, queries), doing="explain the queries"
        )

    async def schema(self) -> Schema:
        """The live schema, without the marker table."""
        return await self._opened.read(
            lambda database: self._inside.cache.read(database)[1], doing="read the schema"
        )

    async def plan_sync(self, steps: Sequence[Step]) -> SyncPlan:
        """See Session.plan_sync."""
        made = self._made(steps)
        return sync.plan(made, await self.schema(), after=0)

    async def scratch_schema(self, steps: Sequence[Step]) -> Schema:
        """See Session.scratch_schema: in memory, where ATTACH is refused."""
        return (await anyio.to_thread.run_sync(self._made, steps)).schema

    def _made(self, steps: Sequence[Step]) -> sync.Desired:
        return sync.make(
            steps,
            self._inside.cache,
            tenant=self._tenant,
            application=self._inside.target.application,
        )

    async def mark(self) -> Mark:
        """What `Done.mark` holds, read now."""
        return await self._opened.run(self._inside.mark, doing="read the schema")

    def maintenance(self) -> SqliteMaintenance:
        return SqliteMaintenance(self._opened)

    async def backup(
        self, destination: Path, *, deadline_seconds: float, pending: Sequence[str] = ()
    ) -> Backup:
        return await backups.backup(self._opened, destination, deadline_seconds=deadline_seconds)

    async def require_restorable(self, backup: Path, *, sha256: str) -> None:
        """See ledger.engines.base.Session.require_restorable: `restore` replaces nothing before it."""

    async def restore(
        self,
        backup: Path,
        *,
        sha256: str,
        epoch: int,
        ledger: str,
        deadline_seconds: float,
        fingerprint: str = "",
        unmade: list[str] | None = None,
    ) -> Mark:
        """See ledger.engines.base.Session.restore; the target may be missing or damaged."""
        mark = await restore.restore(
            self._opened,
            restore.Source(path=backup, sha256=sha256, epoch=epoch, ledger=ledger),
            deadline_seconds=deadline_seconds,
        )
        require_fingerprint(mark, fingerprint, tenant=self._tenant)
        return mark
