"""One open tenant of MySQL or MariaDB: one direct session that holds the tenant's lock.

Invariant: the connection is never renewed behind anybody's back; where a new one
is needed (a migration changed the session's settings), the fence is set anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec

from ledger.dialects.mysql.connection import uses
from ledger.drivers.mysql import MysqlConnection, open_connection, quote_identifier
from ledger.drivers.url import MysqlUrl
from ledger.engines.base import (
    Backup,
    Done,
    Journal,
    Marker,
    MarkerEntry,
    StepResult,
    SyncPlan,
    Target,
    Work,
)
from ledger.engines.checks import require_checks
from ledger.engines.entries import adopted, entry_id, require_expected
from ledger.engines.measured import Measured, Plan
from ledger.engines.mysql import drop
from ledger.engines.mysql.apply import guards, python
from ledger.engines.mysql.apply.progress import Progress, merge
from ledger.engines.mysql.apply.run import Run
from ledger.engines.mysql.backup import backup as backups
from ledger.engines.mysql.backup import restore
from ledger.engines.mysql.explain import explain
from ledger.engines.mysql.lock import fence
from ledger.engines.mysql.lock.marker import (
    Body,
    Fence,
    MarkerTable,
    Remembered,
    as_marker,
    require_ledger,
)
from ledger.engines.mysql.maintain.maintain import MysqlUpkeep
from ledger.engines.mysql.schema import sync as wishes
from ledger.engines.mysql.schema.introspect import SchemaReader
from ledger.engines.mysql.schema.lineage import Lineage
from ledger.engines.mysql.schema.objects import Known, Names
from ledger.engines.mysql.shared import Shared, kind_of
from ledger.engines.mysql.trouble import translated
from ledger.errors import MarkerMismatchError, StepFailedError
from ledger.events import Change, CheckResult, Mark, MigrationRef
from ledger.schema import Schema
from ledger.scripts.created import Owned
from ledger.scripts.model import Check, Step
from ledger.scripts.touching import Touched, touched


class MysqlSession:
    """See ledger.engines.base.Session. `connection` is the tenant's; `shared` is the engine's."""

    def __init__(
        self, target: Target, url: MysqlUrl, connection: MysqlConnection, shared: Shared
    ) -> None:
        self.target = target
        self.tenant = target.name
        self.url = url
        self.connection = connection
        self.names = Names(database=url.database or "", prefix=target.prefix)
        self.table = MarkerTable(target)
        self.engines: dict[str, str] = {}
        self.reader = SchemaReader(target, self.names, self.table.name, shared)
        self.shared = shared
        self._remembered: Remembered | None = None
        self._found_ledger: Fence = Fence()
        self._dirty = self._used = False
        self._plain = False
        self._fresh: fence.Taken | None = None
        self.known = Known(target.prefix)
        self._lineage = Lineage(shared)
        self._bytes: int | None = None

    def names_removed(self, text: str) -> str:
        """The text without the tenant database's name before other names."""
        return text.replace(quote_identifier(self.names.database) + ".", "")

    def wants_after(self, step: Step, before: str) -> bool:
        """Whether the fleet does not know yet what this step makes of that, and nobody is looking."""
        if (step.sha256, before) in self.shared.seen_after:
            return False
        self.shared.seen_after.add((step.sha256, before))
        return True

    def saw_no_after(self, step: Step, before: str) -> None:
        """Looking failed: another tenant may."""
        self.shared.seen_after.discard((step.sha256, before))

    @property
    def locked(self) -> bool:
        """Whether the server's lock keeps everybody else from this tenant."""
        return self._remembered is not None and not self._remembered.fence.warnings

    @property
    def _origin(self) -> str:
        """What the effect of a statement depends on beside the tenant's schema and defaults."""
        return repr((self.url.server, self.target.session))

    @property
    def reusable(self) -> bool:
        """Whether the connection, once reset, is what a new one would be."""
        return self._plain and not self._dirty

    def left_something(self) -> None:
        """A statement may have left something: the next migration gets a connection that is as new."""
        self._used = True

    def soil(self) -> None:
        """A statement changed the connection's settings: the next migration gets a new one."""
        self._dirty = True

    async def marker(self) -> Marker:
        """What the tenant remembers; reads only."""
        with translated(self.target, "read the marker"):
            return as_marker(await self.table.read(self.connection, bodies=True))

    async def fence(self, *, epoch: int, ledger: str) -> Marker:
        """See Session.fence: the lock is held from here on."""
        with translated(self.target, "set the fence"):
            return as_marker(await self._fence(epoch=epoch, ledger=ledger))

    async def _fence(self, *, epoch: int, ledger: str, takes_over: bool = False) -> Remembered:
        taken = await fence.take(
            self.connection,
            self.table,
            self.target,
            database=self.names.database,
            epoch=epoch,
            ledger=ledger,
            takes_over=takes_over,
        )
        self._remembered = taken.now
        self._plain = taken.plain
        self._fresh = taken if not taken.found.exists else None
        return taken.found

    async def _at(self, *, epoch: int, ledger: str) -> Remembered:
        """The marker under our fence."""
        if self._dirty or self._used:
            await self._renew()
        if self._remembered is None or self._remembered.epoch != epoch:
            await self._fence(epoch=epoch, ledger=ledger)
        if self._remembered is None:
            raise RuntimeError("the fence was not set")
        return self._remembered

    async def renew(self, *, epoch: int, ledger: str) -> None:
        """A fresh connection under the same claim; whatever the old one was doing is over then."""
        await self._renew()
        await self._fence(epoch=epoch, ledger=ledger)

    async def _renew(self) -> None:
        """A fresh connection, since what an earlier migration SET must not reach the next."""
        await self.connection.aclose()
        self._remembered = None
        self.connection = await open_connection(
            self.url, self.target.secret, session=self.target.session
        )
        self._dirty = self._used = False

    async def apply(
        self, work: Work, journal: Journal, *, known: frozenset[str] = frozenset()
    ) -> Done:
        """See Session.apply."""
        with translated(self.target, f"apply {entry_id(work.ref)}"):
            remembered = await self._at(epoch=work.epoch, ledger=work.ledger)
            require_ledger(remembered, ledger=work.ledger, tenant=self.tenant)
            require_expected(
                remembered.entries.values(), work.ref, work.expected, tenant=self.tenant
            )
            entry = remembered.entries.get(entry_id(work.ref))
            body = Body()
            if entry is not None:
                body = await self.table.read_body(self.connection, entry_id(work.ref))
            self.reader.work_on(touched((*work.section.steps, *work.sync), "mysql"))
            await self._look_at_fresh()
            if self._bytes is None:
                listing = await self.reader.listing(self.connection, programs=False)
                self.known.looked(listing.all_names)
                self._bytes = listing.bytes
            measured = self._measured(work, entry, body)
            checks = await self._bring_to_end(work, journal, entry, body, measured)
            self._remember(work)
            if work.direction == "down":
                self.reader.work_on(Touched())
            state = await self._lineage.state(self.reader, self.connection, self._origin)
            drift: tuple[Change, ...] = ()
            if work.sync:
                with contextlib.suppress(wishes.ScratchDeniedError):
                    wish = await wishes.make(self, work.sync, migration=entry_id(work.ref))
                    drift = wishes.left(wish, state.schema)
        news = state.mark.fingerprint not in known
        self._bytes = state.mark.bytes
        return Done(
            checks=checks,
            mark=state.mark,
            schema=state.schema if news else None,
            bytes_before=measured.bytes,
            plans=measured.plans,
            drift=drift,
        )

    async def _look_at_fresh(self) -> None:
        """A tenant that nobody has migrated is most often empty: then much is known beforehand."""
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            return
        listing = await self.reader.fresh_listing(self.connection)
        self.known.looked(listing.all_names)
        self._bytes = listing.bytes
        if listing.empty and fresh.defaults:
            server = (self.url.server, self.connection.server.text, self.target.session)
            self._lineage.begin(repr((server, fresh.defaults)))

    def _measured(self, work: Work, entry: MarkerEntry | None, body: Body) -> Measured:
        """What an earlier attempt measured before the first step; now, if this is the first attempt."""
        if entry is not None and entry.direction == work.direction:
            return body.measured or Measured()
        if work.intent is not None:
            return Measured(bytes=work.intent.bytes_before)
        return Measured(bytes=self._bytes, plans=work.plans)

    async def _bring_to_end(
        self,
        work: Work,
        journal: Journal,
        entry: MarkerEntry | None,
        body: Body,
        measured: Measured,
    ) -> tuple[CheckResult, ...]:
        self._require_direction(work, entry)
        if entry is not None and entry.state == "applied" and work.direction == "up":
            progress = Progress(work, journal, self.table, step=entry.step, measured=measured)
            progress.carry(body.steps, told=body.told)
            progress.tell()
            return body.checks
        if entry is None and work.direction == "down":
            return self._undone(work, journal, measured)
        same = entry is not None and entry.direction == work.direction
        self._lineage.attempt()
        progress = Progress(work, journal, self.table, step=merge(entry, work), measured=measured)
        if same:
            progress.carry(body.steps, told=body.told)
        elif measured.plans is not None:
            await progress.save(self.connection)
        run = Run(self, work, journal, progress, kept=body.connection if same else None)
        try:
            if work.python is not None:
                checks = await python.run_module(run, body)
            else:
                await self._run_section(run, dict(body.before))
                checks = ()
            checks += await self._check(run, work)
        except BaseException:
            self._dirty = True
            raise
        await progress.finish(self.connection, checks)
        if not same and work.intent is None and work.python is None and not work.sync:
            self._lineage.grow(work, progress.results, self.names)
        return checks

    def _undone(self, work: Work, journal: Journal, measured: Measured) -> tuple[CheckResult, ...]:
        """No entry is left of it: a run that was killed after its last write has undone it."""
        progress = Progress(work, journal, self.table, step=0, measured=measured)
        progress.carry(
            [
                StepResult(number=step.number, name=step.name, statement=step.sha256)
                for step in work.section.steps
            ],
            told=False,
        )
        progress.tell()
        return ()

    async def _run_section(self, run: Run, before: Mapping[str, str]) -> None:
        work = run.work
        landed = run.progress.step
        self._require_landed(run)
        await run.state.begin(self.connection)
        passed = False
        announced = (
            {one.step: one for one in work.intent.singly()} if work.intent is not None else {}
        )
        for step in work.section.steps:
            kind = kind_of(step.sql)
            if kind.kind == "session":
                self._dirty = True
            elif uses(step.sql).changes:
                self.left_something()
            if step.number <= landed:
                await run.replay(step, kind)
                continue
            if not passed:
                passed = True
                await run.restore()
            if step.number in announced:
                if not await run.take_up(step, kind, announced[step.number], before):
                    # It runs only now: those announced with it had not begun.
                    announced = {}
            else:
                await run.run(step, kind)
        if not passed:
            await run.restore()
        await run.end()
        if work.sync:
            await wishes.bring_about(run)

    def _require_landed(self, run: Run) -> None:
        """A step that has landed is not run again: what stands in its place now would be left out."""
        steps = {step.number: step for step in run.work.section.steps}
        for was in run.progress.results:
            step = steps.get(was.number)
            of_wish = step is None and bool(run.work.sync)
            if was.of or of_wish or (step is not None and step.sha256 == was.statement):
                continue
            now = "is not in the file any more"
            if step is not None:
                now = f"is another statement now ({step.name}), which would not be run"
            raise StepFailedError(
                f"step {was.number} ({was.name}) has landed here, and {now}",
                step=was.number,
                hint="Put the steps that have landed back as they were, and correct those after them;"
                " or restore the tenant from its backup first.",
                tenant=self.tenant,
                migration=run.migration,
                file=step.file if step is not None else None,
                line=step.line if step is not None else None,
            )

    async def _check(self, run: Run, work: Work) -> tuple[CheckResult, ...]:
        if not work.checks:
            return ()
        connection = self.connection
        if run.progress.unsaved:
            await run.save()
        results = await guards.run_checks(connection, work.checks, seconds=run.seconds())
        if not all(one.passed for one in results):
            await run.progress.save(connection, told=True)
        require_checks(results, work.checks, tenant=self.tenant, migration=run.migration)
        return results

    def _require_direction(self, work: Work, entry: MarkerEntry | None) -> None:
        """Up steps over half-run down steps would meet a schema that nobody has seen."""
        if entry is not None and work.direction == "up" and entry.direction == "down":
            raise MarkerMismatchError(
                f"{entry_id(work.ref)} is being rolled back here: {entry.step} of its down steps have run",
                extra=(entry_id(work.ref),),
                hint="Run `ledger rollback --tenant NAME` again, then migrate.",
                tenant=self.tenant,
            )

    def _remember(self, work: Work) -> None:
        """Keep the marker's picture in step with what was just written."""
        if self._remembered is None:
            return
        entries = dict(self._remembered.entries)
        entries.pop(entry_id(work.ref), None)
        if work.direction == "up":
            entries[entry_id(work.ref)] = MarkerEntry(
                ref=work.ref,
                state="applied",
                direction="up",
                step=len(work.section.steps),
                epoch=work.epoch,
            )
        self._remembered = msgspec.structs.replace(self._remembered, entries=entries)

    async def adopt(self, refs: Sequence[MigrationRef], *, epoch: int, ledger: str) -> Mark:
        """Make the marker say that exactly `refs` are applied; a tenant of another ledger becomes this one's."""
        with translated(self.target, "write the marker"):
            await self._fence(epoch=epoch, ledger=ledger, takes_over=True)
            found = await self.table.read(self.connection, bodies=True)
            words = fence.with_restoring(found, "")
            entries = adopted(found.entries.values(), refs, epoch=epoch)
            await self._in_transaction_of_its_own(entries, epoch=epoch, words=words)
            self._remembered = await self.table.read(self.connection)
            return (await self.reader.mark(self.connection))[0]

    async def _in_transaction_of_its_own(
        self, entries: Sequence[MarkerEntry], *, epoch: int, words: Fence
    ) -> None:
        try:
            await self.table.replace_all(self.connection, entries, epoch=epoch, fence=words)
        except BaseException:
            with anyio.move_on_after(5, shield=True):
                await self.connection.rollback()
            raise

    async def drop(self, objects: Sequence[Owned], *, epoch: int, ledger: str) -> Mark:
        """See Session.drop."""
        with translated(self.target, "drop"):
            await self._fence(epoch=epoch, ledger=ledger)
            try:
                await drop.drop(self, objects, epoch=epoch, ledger=ledger)
            finally:
                self._dirty, self._remembered = True, None
            return (await self.reader.mark(self.connection))[0]

    async def check(self, checks: Sequence[Check]) -> tuple[CheckResult, ...]:
        """Run checks in one read-only snapshot; a check that cannot run has not passed."""
        with translated(self.target, "run the checks"):
            return await guards.run_checks(self.connection, checks)

    async def explain(self, queries: Sequence[str]) -> tuple[Plan, ...]:
        """See Session.explain."""
        with translated(self.target, "explain the queries"):
            return await explain(self.connection, queries)

    async def schema(self) -> Schema:
        """The live schema, without the marker table, prefix replaced by `{prefix}`."""
        with translated(self.target, "read the schema"):
            return await self.reader.schema(self.connection)

    async def plan_sync(self, wish: Sequence[Step]) -> SyncPlan:
        """See Session.plan_sync: a scratch database is made beside the tenant, and dropped."""
        with translated(self.target, "compare with a scratch database"):
            self.reader.work_on(touched(wish, "mysql"))
            return await wishes.lacking(self, wish, after=0)

    async def scratch_schema(self, steps: Sequence[Step]) -> Schema:
        """See Session.scratch_schema."""
        with translated(self.target, "make a scratch database"):
            return (await wishes.make(self, tuple(wishes.schema_steps(steps)))).schema

    async def mark(self) -> Mark:
        """What `Done.mark` holds, read now."""
        with translated(self.target, "read the schema"):
            return (await self._lineage.look(self.reader, self.connection, self._origin)).mark

    def upkeep(self) -> MysqlUpkeep:
        """See Session.upkeep."""
        return MysqlUpkeep(self)

    async def backup(
        self, destination: Path, *, deadline_seconds: float, pending: Sequence[str] = ()
    ) -> Backup:
        """See Session.backup."""
        with translated(self.target, "back up"):
            return await backups.backup(
                self, destination, deadline_seconds=deadline_seconds, pending=pending
            )

    async def require_restorable(self, backup: Path, *, sha256: str) -> None:
        """See Session.require_restorable."""
        with translated(self.target, "read the backup"):
            await restore.checked(self, backup, sha256)

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
        """See Session.restore."""
        with translated(self.target, "restore"):
            await self._fence(epoch=epoch, ledger=ledger)
            try:
                await restore.restore(
                    self,
                    backup,
                    sha256=sha256,
                    epoch=epoch,
                    ledger=ledger,
                    deadline_seconds=deadline_seconds,
                    fingerprint=fingerprint,
                    unmade=unmade,
                )
            finally:
                self._dirty, self._remembered = True, None
                self._lineage.attempt()
                self.known.forget()
            return (await self.reader.mark(self.connection))[0]
