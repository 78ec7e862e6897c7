"""`Ledger`: everything the command line does, from Python.

Invariant: a method either changes nothing, and makes no ledger, or records what it changed as events;
a tenant's failure is an outcome in the report, what concerns the whole is raised. Each method imports its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ledger import requests as ask
from ledger.api.audits import Audits
from ledger.calls.tenants import gone_tenants
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.fleet.state import load_runs
from ledger.requests.base import Request, takes
from ledger.stores.base import Head

if TYPE_CHECKING:
    from ledger.adopt.tenant import Importing
    from ledger.api.status import Status
    from ledger.api.verify import VerifyReport
    from ledger.backups.check import BackupCheck
    from ledger.backups.prune import Pruning
    from ledger.doctor.report import DoctorReport
    from ledger.fleet.planning import FleetPlan
    from ledger.fleet.report import RunReport
    from ledger.fleet.validation import ValidationReport
    from ledger.lint import Finding
    from ledger.maintain.report import MaintainReport
    from ledger.projections import RunState
    from ledger.rehearse.report import RehearsalReport
    from ledger.reset.tenant import Resetting
    from ledger.runner.kept import KeptBackup
    from ledger.schema import Schema
    from ledger.stats.gather import Stats


class Ledger(Audits):
    """One configuration's ledger and fleet.

    Use it as `async with Ledger.open(…) as ledger`, or for a single call as
    `await Ledger.open(…).migrate()`, which opens and closes by itself. The arguments of a method are
    the fields of its request in `ledger.requests`. `lost` are the sources that did not answer when
    the last call asked them for tenants; `gone` are the tenants with applied migrations that none of
    them named, when the last `migrate` or `status` asked for all.
    """

    def run(self, request: Request) -> Any:
        """The call that the request is: what its method gives, to be awaited (or, for events, iterated)."""
        return getattr(self, request.method)(**msgspec.structs.asdict(request))

    async def init(self) -> Head:
        """Create the ledger if it is not there, and return its head."""
        async with self._making() as ready:
            return await ready.store.head()

    @takes(ask.Migrate)
    async def migrate(self, request: ask.Migrate) -> RunReport:
        """Bring tenants forward; a run is recorded only if there is something to do.

        Several processes may call this at once: each tenant is migrated by one, the others wait for
        its result. The plans of the queries in `explain` are recorded where a migration changes them.
        """
        from ledger.api.migrate import migrate

        async with self._call(
            "migrate",
            request.tenants,
            request.reason,
            request.parallel,
            backup=request.backup,
            opening=self._making(request.tenants),
        ) as call:
            return await migrate(call, request)

    @takes(ask.Rollback)
    async def rollback(self, request: ask.Rollback) -> RunReport:
        """Undo the last migration, one `migration`, all after `to`, or exactly what `run` applied."""
        from ledger.api.undo import rollback

        async with self._call(
            "rollback",
            request.tenants,
            request.reason,
            request.parallel,
            backup=request.backup,
        ) as call:
            return await rollback(call, request)

    @takes(ask.Restore)
    async def restore(self, request: ask.Restore) -> RunReport:
        """Restore each tenant's newest backup, the newest from before `at`, or one by event seq or path."""
        from ledger.api.undo import restore

        async with self._call("restore", request.tenants, request.reason, request.parallel) as call:
            return await restore(call, request)

    @takes(ask.Prune)
    async def prune_backups(self, request: ask.Prune) -> RunReport:
        """Delete backups beyond the newest `keep` and from before a time; the newest sound one stays."""
        from ledger.backups.fleet import prune

        async with self._call("prune", request.tenants, request.reason) as call:
            return await prune(call, request)

    @takes(ask.Baseline)
    async def baseline(self, request: ask.Baseline) -> RunReport:
        """Count everything up to `to` as applied, without running it."""
        from ledger.api.records import baseline

        async with self._call(
            "baseline",
            request.tenants,
            request.reason,
            request.parallel,
            opening=self._making(),
        ) as call:
            return await baseline(call, request)

    @takes(ask.Reset)
    async def reset(self, request: ask.Reset) -> RunReport:
        """Undo everything after `to` (or change the records only), or drop all that migrations created."""
        from ledger.reset.fleet import reset

        async with self._call(
            "reset",
            request.tenants,
            request.reason,
            request.parallel,
            backup="always" if request.drop_all else None,
        ) as call:
            return await reset(call, request)

    @takes(ask.Import)
    async def import_from(self, request: ask.Import) -> RunReport:
        """Count as applied what another tool's history table says: dbmate, flyway, django …"""
        from ledger.adopt.fleet import import_history

        async with self._call(
            "import", request.tenants, parallel=request.parallel, opening=self._making()
        ) as call:
            return await import_history(call, request)

    @takes(ask.Unlock)
    async def unlock(self, request: ask.Unlock) -> RunReport:
        """End the claims on the chosen tenants, whoever holds them, and fence the holders."""
        from ledger.api.records import unlock

        async with self._call("unlock", request.tenants, request.reason) as call:
            return await unlock(call)

    @takes(ask.Resolve)
    async def resolve(self, request: ask.Resolve) -> RunReport:
        """Settle a tenant's step in doubt: by a person's word, or by restoring its newest backup."""
        from ledger.api.records import resolve

        if request.how == "restore":
            return await self.restore(request.tenant, reason=request.reason)
        async with self._call("resolve", request.tenant, request.reason) as call:
            return await resolve(call, request.how)

    @takes(ask.Maintain)
    async def maintain(self, request: ask.Maintain) -> MaintainReport:
        """Optimise the tenants; find orphans or old rows, and with `apply` delete or archive them.

        `older_than` is an age such as `90d`. Without `apply` nothing is changed (but by `optimize`).
        """
        from ledger.maintain.fleet import maintain

        changes = request.apply or request.task == "optimize"
        async with self._call(
            "maintain",
            request.tenants,
            request.reason,
            request.parallel,
            backup="never",
            opening=self._making(request.tenants) if changes else self._reading(),
        ) as call:
            return await maintain(call, request)

    @takes(ask.Validate)
    async def validate(self, request: ask.Validate) -> ValidationReport:
        """Run every applied migration's checks and compare live schemas with what they should be.

        With `accept` and a `reason`, what differs becomes what it should be. With `schema` they
        are compared with that file: a snapshot in JSON (as `ledger schema` prints it), or SQL
        that is run in a scratch database.
        """
        from ledger.api.validate import validate

        async with self._call("migrate", request.tenants, request.reason, request.parallel) as call:
            return await validate(call, request)

    @takes(ask.Verify)
    async def verify(self, request: ask.Verify) -> VerifyReport:
        """Recompute the hash chain, rehash the kept texts, compare stored projections with a full replay.

        With `rebuild`, projections are replaced, and texts that are missing are taken from migration
        files that are still as they were when they ran.
        """
        from ledger.api.verify import texts_in_folders, verify_store

        async with self._ready() as ready:
            return await verify_store(
                ready.store,
                anchor=request.anchor,
                rebuild=request.rebuild,
                texts=partial(texts_in_folders, self.config),
            )

    @takes(ask.ReadTenants)
    async def tenants(self, request: ask.ReadTenants) -> tuple[Target, ...]:
        """The chosen tenants, with the sets that each follows."""
        async with self._reading() as ready:
            return (await self._choose(ready, request.tenants)).targets

    @takes(ask.PlanMigrate)
    async def plan(self, request: ask.PlanMigrate) -> FleetPlan:
        """What `migrate` would do; touches nothing. Raises ChecksumMismatchError, ScriptError, UsageError.

        A tenant with a pending section sync is read, to say what that comes to. With `estimate`, how
        long it will take with `parallel` at once, by earlier runs.
        """
        from ledger.api.migrate import plan

        async with self._look(request.tenants) as look:
            return await plan(look, request)

    @takes(ask.PlanRollback)
    async def plan_rollback(self, request: ask.PlanRollback) -> FleetPlan:
        """What `rollback` would do, with what each backup would lose; touches nothing."""
        from ledger.api.undo import plan_rollback

        async with self._call("rollback", request.tenants) as call:
            return await plan_rollback(call, request)

    @takes(ask.PlanPrune)
    async def plan_prune(self, request: ask.PlanPrune) -> tuple[Pruning, ...]:
        """Which backups `prune_backups` would delete, and which it keeps whatever was asked."""
        from ledger.backups.fleet import plan_prune

        async with self._call("prune", request.tenants) as call:
            return await plan_prune(call, request)

    @takes(ask.PlanReset)
    async def plan_reset(self, request: ask.PlanReset) -> tuple[Resetting, ...]:
        """What `reset` with `mark_only` or `drop_all` would do to each tenant; touches nothing."""
        from ledger.reset.fleet import plan_reset

        async with self._call("reset", request.tenants) as call:
            return await plan_reset(call, request)

    @takes(ask.PlanImport)
    async def plan_import(self, request: ask.PlanImport) -> tuple[Importing, ...]:
        """What `import_from` would count as applied on each tenant; touches nothing."""
        from ledger.adopt.fleet import plan_import

        async with self._call("import", request.tenants, opening=self._reading()) as call:
            return await plan_import(call, request)

    @takes(ask.ReadBackups)
    async def backups(self, request: ask.ReadBackups) -> list[KeptBackup]:
        """All recorded backups of the chosen tenants, oldest first.

        A tenant that is named has its backups even where the configuration finds it no more:
        that is when they are wanted most.
        """
        from ledger.backups.fleet import tenants_named
        from ledger.runner.kept import kept_backups

        async with self._ready() as ready:
            names = await tenants_named(ready.store, request.patterns)
            kept = await kept_backups(ready.store, names)
            if not kept:
                await self._require_right(ready)
            try:
                chosen = await self._choose(ready, request.tenants)
            except UsageError:
                if not kept:
                    raise
                return kept
            others = {target.name for target in chosen.targets} - names
            return sorted(
                [*kept, *await kept_backups(ready.store, others)], key=lambda one: one.seq
            )

    @takes(ask.VerifyBackups)
    async def verify_backups(self, request: ask.VerifyBackups) -> list[BackupCheck]:
        """Read every recorded backup through: its hash, and that it opens and is whole."""
        from ledger.backups.fleet import check_backups

        found = await self.backups(request.tenants)
        return await check_backups(found, parallel=self.config.parallel)

    @takes(ask.Rehearse)
    async def rehearse(self, request: ask.Rehearse) -> RehearsalReport:
        """Migrate, roll back and migrate again on copies of the chosen tenants; changes none, records nothing."""
        from ledger.rehearse.fleet import rehearse

        async with self._look(request.tenants) as look:
            return await rehearse(look, request, self.progress)

    @takes(ask.ReadSchema)
    async def schema(self, request: ask.ReadSchema) -> Schema:
        """One tenant's live schema, its prefix written `{prefix}`. Raises UsageError for several."""
        async with self._reading() as ready:
            targets = (await self._choose(ready, request.tenant)).targets
            if len(targets) != 1:
                names = ", ".join(target.name for target in targets[:5])
                raise UsageError(
                    f"{request.tenant!r} names {len(targets)} tenants, and `schema` shows one",
                    hint=f"Name one of them: {names}.",
                )
            async with ready.engines[targets[0].engine].open(targets[0]) as session:
                return await session.schema()

    @takes(ask.ReadStatus)
    async def status(self, request: ask.ReadStatus) -> Status:
        """Where every chosen tenant stands, now or at a time; reads the ledger only.

        At a time: the tenants that there were then, by the migrations as they were then, as far as
        runs recorded them.
        """
        from ledger.api.status import read_status

        names = request.patterns
        if request.at is not None:
            from ledger.api.then import status_then

            async with self._reading() as ready:
                then = await status_then(ready, names, request.at, choose=self._choose)
            self.gone = then.gone
            return then
        async with self._look(names) as look:
            self.gone = gone_tenants(look.fleet, look.chosen.found, names)
            return await read_status(look, self.gone)

    @takes(ask.ReadRuns)
    async def runs(self, request: ask.ReadRuns) -> list[RunState]:
        """Runs, oldest first; with `limit` the newest that many. Each has its `state`."""
        from ledger.calls.runs import described

        async with self._ready() as ready:
            await self._require_right(ready)
            runs = await load_runs(ready.store, newest=request.limit)
            return await described(ready.store, runs, now=await ready.store.now())

    @takes(ask.ReadStats)
    async def stats(self, request: ask.ReadStats) -> Stats:
        """Sizes, growth by migration and the slowest `steps`; reads the ledger only."""
        from ledger.stats.gather import fleet_stats

        async with self._look(request.tenants) as look:
            return await fleet_stats(look, request)

    @takes(ask.Doctor)
    async def doctor(self, request: ask.Doctor) -> DoctorReport:
        """Whether all is there that a run will need; no tenant is written, and no event."""
        from ledger.doctor.fleet import doctor

        return await doctor(self.config, request, self.progress)

    async def lint(self) -> list[Finding]:
        """What is wrong, or risky, in the migration files; needs no ledger and no tenant."""
        from ledger.api.lint import lint_config

        return await lint_config(self.config)

    async def head(self) -> Head:
        """The ledger's last seq and its hash: an anchor for `verify`, to be kept elsewhere."""
        async with self._ready() as ready:
            return await ready.store.head()

    @takes(ask.ReadDocuments)
    async def version_documents(self, request: ask.ReadDocuments) -> list[dict[str, Any]]:
        """Each tenant and set in the shape of a version.json, with its state filled in."""
        from ledger.api.export import version_documents

        async with self._look(request.tenants) as look:
            return await version_documents(look)
