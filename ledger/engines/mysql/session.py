"""An open tenant of MySQL or MariaDB: what `Session` promises, by the operations below.

Nothing but the engine imports this; operations are given the `Opened` that is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio

from ledger.dialects.steps import Check, Step
from ledger.engines.base import Backup
from ledger.engines.entries import adopted
from ledger.engines.measured import Plan
from ledger.engines.mysql import drop
from ledger.engines.mysql.apply import guards, migration, reading
from ledger.engines.mysql.backup import backup as backups
from ledger.engines.mysql.backup import restore
from ledger.engines.mysql.explain import explain
from ledger.engines.mysql.lock.fence import with_restoring
from ledger.engines.mysql.lock.marker import as_marker
from ledger.engines.mysql.maintain.maintain import MysqlMaintenance
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import sync
from ledger.engines.mysql.trouble import translated
from ledger.engines.work import Done, Journal, Marker, Work
from ledger.events import CheckResult, Mark, MigrationRef
from ledger.schema import Schema
from ledger.scripts.created import Owned
from ledger.scripts.model import Migration
from ledger.scripts.touching import touched
from ledger.sync.steps import SyncPlan


class MysqlSession:
    """See ledger.engines.base.Session."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._target = opened.target

    async def marker(self) -> Marker:
        """What the tenant remembers; reads only."""
        with translated(self._target, "read the marker"):
            return as_marker(await self._opened.table.read(self._opened.connection, bodies=True))

    async def fence(self, *, epoch: int, ledger: str) -> Marker:
        """See Session.fence: the lock is held from here on."""
        with translated(self._target, "set the fence"):
            return as_marker(await self._opened.fence(epoch=epoch, ledger=ledger))

    async def require_read_alike(self, migrations: Sequence[Migration], *, down: bool) -> None:
        """See Session.require_read_alike."""
        with translated(self._target, "ask for its sql_mode"):
            await reading.require_read_alike(self._opened, migrations, down=down)

    async def apply(
        self, work: Work, journal: Journal, *, known: frozenset[str] = frozenset()
    ) -> Done:
        with translated(self._target, f"apply {work.ref.id}"):
            return await migration.apply(self._opened, work, journal, known)

    async def adopt(self, refs: Sequence[MigrationRef], *, epoch: int, ledger: str) -> Mark:
        """See Session.adopt; a tenant of another ledger becomes this one's."""
        opened = self._opened
        with translated(self._target, "write the marker"):
            await opened.fence(epoch=epoch, ledger=ledger, takes_over=True)
            found = await opened.table.read(opened.connection, bodies=True)
            entries = adopted(found.entries.values(), refs, epoch=epoch)
            try:
                await opened.table.replace_all(
                    opened.connection, entries, epoch=epoch, fence=with_restoring(found, "")
                )
            except BaseException:
                with anyio.move_on_after(5, shield=True):
                    await opened.connection.rollback()
                raise
            opened.remembered = await opened.table.read(opened.connection)
            return await opened.reader.mark(opened.connection)

    async def drop(self, objects: Sequence[Owned], *, epoch: int, ledger: str) -> Mark:
        with translated(self._target, "drop"):
            await self._opened.fence(epoch=epoch, ledger=ledger)
            try:
                await drop.drop(self._opened, objects, epoch=epoch, ledger=ledger)
            finally:
                self._opened.replaced()
            return await self._opened.reader.mark(self._opened.connection)

    async def check(self, checks: Sequence[Check]) -> tuple[CheckResult, ...]:
        """Run checks in one read-only snapshot; a check that cannot run has not passed."""
        with translated(self._target, "run the checks"):
            return await guards.run_checks(self._opened.connection, checks)

    async def explain(self, queries: Sequence[str]) -> tuple[Plan, ...]:
        with translated(self._target, "explain the queries"):
            return await explain(self._opened.connection, queries)

    async def schema(self) -> Schema:
        with translated(self._target, "read the schema"):
            return (await self._opened.reader.state(self._opened.connection)).schema

    async def plan_sync(self, steps: Sequence[Step]) -> SyncPlan:
        """See Session.plan_sync: a scratch database is made beside the tenant, or temporary tables."""
        with translated(self._target, "compare with a scratch database"):
            self._opened.reader.work_on(touched(steps, "mysql"))
            return await sync.lacking(self._opened, steps, after=0)

    async def scratch_schema(self, steps: Sequence[Step]) -> Schema:
        """See Session.scratch_schema."""
        with translated(self._target, "make a scratch database"):
            return (await sync.make(self._opened, tuple(sync.schema_steps(steps)))).schema

    async def mark(self) -> Mark:
        opened = self._opened
        with translated(self._target, "read the schema"):
            return (await opened.lineage.read(opened.reader, opened.connection, opened.origin)).mark

    def maintenance(self) -> MysqlMaintenance:
        return MysqlMaintenance(self._opened)

    async def backup(
        self, destination: Path, *, deadline_seconds: float, pending: Sequence[str] = ()
    ) -> Backup:
        with translated(self._target, "back up"):
            return await backups.backup(
                self._opened, destination, deadline_seconds=deadline_seconds, pending=pending
            )

    async def require_restorable(self, backup: Path, *, sha256: str) -> None:
        """See Session.require_restorable."""
        with translated(self._target, "read the backup"):
            await restore.checked(self._opened, backup, sha256)

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
        with translated(self._target, "restore"):
            await self._opened.fence(epoch=epoch, ledger=ledger)
            try:
                await restore.restore(
                    self._opened,
                    backup,
                    sha256=sha256,
                    epoch=epoch,
                    ledger=ledger,
                    deadline_seconds=deadline_seconds,
                    fingerprint=fingerprint,
                    unmade=unmade,
                )
            finally:
                self._opened.replaced()
            return await self._opened.reader.mark(self._opened.connection)
