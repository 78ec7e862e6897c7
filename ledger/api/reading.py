"""The calls that change nothing: no tenant, and no event.

Invariant: none of them makes a ledger that is not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ledger import events as ev
from ledger.api.arguments import patterns, require_arguments, require_source
from ledger.api.choosing import (
    concerns,
    matches_any,
    require_history,
    rollback_chooser,
)
from ledger.api.opened import Opened, gone_tenants
from ledger.api.opening import Opening
from ledger.api.running import Tenants
from ledger.api.status import Status, build_status
from ledger.engines.base import Target
from ledger.errors import UnknownTenantError, UsageError
from ledger.events import Recorded
from ledger.fleet.planning import (
    Decisions,
    FleetPlan,
    drifted_tenants,
    gone_files,
    left_alone,
    refuse_wrong_files,
)
from ledger.fleet.state import load_fleet
from ledger.plan import others
from ledger.projections import RunState
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.undo import How
from ledger.stores.base import Filter, Head

if TYPE_CHECKING:
    from ledger.api.doctor import DoctorReport
    from ledger.api.rehearse import RehearsalReport, Source
    from ledger.lint import Finding
    from ledger.runner.context import BackupPolicy
    from ledger.runner.importing import Importing
    from ledger.runner.prune import BackupCheck, Pruning
    from ledger.runner.reset import Resetting
    from ledger.schema import Schema
    from ledger.stats import Stats


class Reading(Opening):
    """What can be asked of a fleet and its ledger."""

    async def tenants(self, tenants: Tenants = "*") -> tuple[Target, ...]:
        """The chosen tenants, with the sets that each follows."""
        async with self._reading() as ready:
            return (await self._choose(ready, tenants)).targets

    async def plan(
        self,
        tenants: Tenants = "*",
        *,
        to: str | None = None,
        out_of_order: bool | None = None,
        estimate: bool = False,
        parallel: int | None = None,
        backup: BackupPolicy | None = None,
    ) -> FleetPlan:
        """What `migrate` would do; touches nothing. Raises ChecksumMismatchError, ScriptError, UsageError.

        A tenant with a pending section sync is read, to say what that comes to.

        With `estimate`, how long it will take with `parallel` at once, by earlier runs.
        """
        require_arguments(
            to=to, out_of_order=out_of_order, estimate=estimate, parallel=parallel, backup=backup
        )
        from ledger.api.unanswered import with_lost_planned, with_strangers_planned
        from ledger.fleet.plans import migrate_plan
        from ledger.fleet.wishes import with_wishes

        async with self._reading() as ready:
            fleet = await load_fleet(ready.store)
            chosen = await self._with_strangers(ready, await self._choose(ready, tenants), fleet)
            alone = others(chosen.catalogues, to)
            decisions = Decisions(fleet, self._options(to, out_of_order))
            refuse_wrong_files(chosen.targets, chosen.catalogues, decisions)
            gone = gone_files(chosen.targets, chosen.catalogues, fleet)
            warnings = (
                *chosen.warnings,
                *left_alone(alone, to),
                *gone,
                *drifted_tenants(chosen.targets, fleet),
            )
            plan = migrate_plan(
                chosen.targets,
                chosen.catalogues,
                fleet,
                decisions,
                warnings,
                backup or self.config.backup,
            )
            wide = parallel or self.config.parallel
            plan = await with_wishes(
                plan,
                chosen.targets,
                chosen.catalogues,
                decisions,
                ready.engines.__getitem__,
                parallel=wide,
            )
            if estimate:
                from ledger.api.figures import with_estimates

                plan = await with_estimates(plan, ready.store, fleet, chosen, parallel=wide)
            return with_lost_planned(with_strangers_planned(plan, chosen.strangers), self.lost)

    async def plan_rollback(
        self,
        tenants: Tenants = "*",
        *,
        migration: str | None = None,
        to: str | None = None,
        run: str | None = None,
        by: How = "auto",
    ) -> FleetPlan:
        """What `rollback` would do, with what each backup would lose; touches nothing."""
        require_arguments(migration=migration, to=to, run=run, by=by)
        from ledger.api.unanswered import with_lost_planned, with_strangers_planned
        from ledger.fleet.plans import rollback_plan

        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "rollback", tenants)
            choose = await rollback_chooser(ctx, chosen, migration=migration, to=to, run=run)
            plan = await rollback_plan(
                ctx, chosen.targets, chosen.catalogues, ready.engines.__getitem__, choose, by
            )
            return with_lost_planned(with_strangers_planned(plan, chosen.strangers), self.lost)

    async def backups(self, tenants: Tenants = "*") -> list[KeptBackup]:
        """All recorded backups of the chosen tenants, oldest first.

        A tenant that is named has its backups even where the configuration finds it no more:
        that is when they are wanted most.
        """
        async with self._ready() as ready:
            kept = await kept_backups(ready.store)
            if not kept:
                await self._require_right(ready, await load_fleet(ready.store))
            named = [one for one in patterns(tenants) if one != "*"]
            gone = {one.tenant for one in kept if matches_any(one.tenant, named)}
            try:
                chosen = await self._choose(ready, tenants)
            except UsageError:
                if not gone:
                    raise
                names = gone
            else:
                names = gone | {target.name for target in chosen.targets}
            return [one for one in kept if one.tenant in names]

    async def plan_prune(
        self, tenants: Tenants, *, keep: int | None = None, before: str | None = None
    ) -> tuple[Pruning, ...]:
        """Which backups `prune_backups` would delete, and which it keeps whatever was asked."""
        require_arguments(keep=keep, before=before)
        from ledger.api.backups import plan_prune

        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "prune", tenants)
            return await plan_prune(ctx, chosen, keep=keep, before=before)

    async def verify_backups(self, tenants: Tenants = "*") -> list[BackupCheck]:
        """Read every recorded backup through: its hash, and that it opens and is whole."""
        from ledger.api.backups import check_backups

        return await check_backups(await self.backups(tenants), parallel=self.config.parallel)

    async def plan_reset(
        self, tenants: Tenants, *, to: str | None = None, drop_all: bool = False
    ) -> tuple[Resetting, ...]:
        """What `reset` with `mark_only` or `drop_all` would do to each tenant; touches nothing."""
        require_arguments(to=to, drop_all=drop_all)
        from ledger.api.reset import plan_reset, require_one_way

        require_one_way(to=to, mark_only=False, drop_all=drop_all)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "reset", tenants)
            return await plan_reset(ctx, ready, chosen, to=to, drop_all=drop_all)

    async def plan_import(
        self,
        tenants: Tenants,
        *,
        source: str,
        table: str | None = None,
        registry: str | None = None,
        scope: str | None = None,
        set_name: str | None = None,
    ) -> tuple[Importing, ...]:
        """What `import_from` would count as applied on each tenant; touches nothing."""
        require_arguments(
            source=source, table=table, registry=registry, scope=scope, set_name=set_name
        )
        from ledger.api.importing import plan_import
        from ledger.runner.importing import Asked

        asked = Asked(tool=source, table=table, registry=registry, scope=scope, set_name=set_name)
        async with self._reading() as ready:
            ctx, chosen = await self._begin(ready, "import", tenants)
            return await plan_import(ctx, ready, chosen, asked)

    async def rehearse(
        self,
        tenants: Tenants,
        *,
        sample: int | None = None,
        to: str | None = None,
        source: Source = "auto",
        out_of_order: bool | None = None,
        parallel: int | None = None,
    ) -> RehearsalReport:
        """Migrate, roll back and migrate again on copies of the chosen tenants; changes none, records nothing."""
        require_arguments(sample=sample, to=to, out_of_order=out_of_order, parallel=parallel)
        require_source(source)
        from ledger.api.rehearse import rehearse

        async with self._reading() as ready:
            fleet = await load_fleet(ready.store)
            return await rehearse(
                ready,
                await self._with_strangers(ready, await self._choose(ready, tenants), fleet),
                fleet,
                self._options(to, out_of_order),
                sample=sample,
                source=source,
                parallel=parallel or self.config.parallel,
                progress=self.progress,
            )

    async def schema(self, tenant: str) -> Schema:
        """One tenant's live schema, its prefix written `{prefix}`. Raises UsageError for several."""
        from ledger.api.schema import live_schema

        async with self._reading() as ready:
            chosen = await self._choose(ready, tenant)
            return await live_schema(ready, chosen, tenant)

    async def status(self, tenants: Tenants = "*", *, at: str | None = None) -> Status:
        """Where every chosen tenant stands, now or at a time; reads the ledger only.

        At a time: the tenants that there were then, by the migrations as they were then, as far as
        runs recorded them.
        """
        require_arguments(at=at)
        names = patterns(tenants)
        async with self._reading() as ready:
            if at is not None:
                from ledger.api.then import status_then

                then = await status_then(
                    ready, names, at, choose=self._choose, options=self._options(None, None)
                )
                self.gone = then.gone
                return then
            chosen = await self._choose(ready, names)
            store = ready.store
            fleet = await load_fleet(store)
            chosen = await self._with_strangers(ready, chosen, fleet)
            self.gone = gone_tenants(fleet, chosen.found, names)
            return build_status(
                fleet,
                chosen,
                gone=self.gone,
                head=await store.head(),
                url=store.url,
                now=await store.now(),
                options=self._options(None, None),
            )

    async def history(
        self,
        tenant: str | None = None,
        *,
        since: str | None = None,
        until: str | None = None,
        type: str | None = None,  # noqa: A002 - docs/interface.md's word
        run: str | None = None,
        actor: str | None = None,
        migration: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Recorded]:
        """Events in seq order; with `limit` the newest that many.

        `migration` is VERSION or SET/VERSION, `tenant`, `run` and `actor` may be globs.
        """
        require_arguments(
            tenant=tenant,
            since=since,
            until=until,
            type=type,
            run=run,
            actor=actor,
            migration=migration,
            limit=limit,
        )
        exact = tenant is not None and not any(char in tenant for char in "*?[")
        where = Filter(
            stream=f"tenant/{tenant}" if exact else None,
            tenant=None if exact else tenant,
            types=(type,) if type else (),
            run=run,
            actor=actor,
            since=since,
            until=until,
            last=limit if migration is None else None,
        )
        if type is not None and type not in ev.EVENT_TYPES:
            raise UsageError(
                f"no event has the type {type!r}", hint=f"The types: {', '.join(ev.EVENT_TYPES)}."
            )
        async with self._ready() as ready:
            if tenant is not None:
                await self._require_history(ready, tenant)
            else:
                await self._require_right(ready, await load_fleet(ready.store))
            kept: list[Recorded] = []
            async with aclosing(ready.store.read(where)) as batches:
                async for rows in batches:
                    for row in rows:
                        if migration is not None and not concerns(row, migration):
                            continue
                        if migration is not None and limit is not None:
                            kept = [*kept[-(limit - 1) :], row] if limit > 1 else [row]
                        else:
                            yield row
            for row in kept:
                yield row

    async def _require_history(self, ready: Opened, tenant: str) -> None:
        """Raises UnknownTenantError, or WrongLedgerError where another ledger knows the tenant."""
        fleet = await load_fleet(ready.store)
        try:
            require_history(fleet, tenant)
        except UnknownTenantError:
            await self._require_right(ready, fleet, tenant)
            raise

    async def runs(self, *, limit: int | None = None) -> list[RunState]:
        """Runs, oldest first; with `limit` the newest that many. Each has its `state`."""
        require_arguments(limit=limit)
        from ledger.api.runs import described

        async with self._ready() as ready:
            fleet = await load_fleet(ready.store)
            await self._require_right(ready, fleet)
            runs = sorted(fleet.runs.values(), key=lambda run: (run.started_at, run.run))
            chosen = runs[-limit:] if limit else runs
            return await described(ready.store, chosen, now=await ready.store.now())

    async def stats(
        self, tenants: Tenants = "*", *, migration: str | None = None, steps: int | None = None
    ) -> Stats:
        """Sizes, growth by migration and the slowest `steps`; reads the ledger only."""
        require_arguments(migration=migration, steps=steps)
        from ledger.api.figures import fleet_stats

        async with self._reading() as ready:
            fleet = await load_fleet(ready.store)
            chosen = await self._with_strangers(ready, await self._choose(ready, tenants), fleet)
            return await fleet_stats(ready.store, fleet, chosen, migration=migration, steps=steps)

    async def doctor(
        self, tenants: Tenants = "*", *, quick: bool = False, parallel: int | None = None
    ) -> DoctorReport:
        """Whether all is there that a run will need; no tenant is written, and no event."""
        require_arguments(quick=quick, parallel=parallel)
        from ledger.api.doctor import examine

        return await examine(
            self.config,
            patterns(tenants),
            quick=quick,
            parallel=parallel or self.config.parallel,
            progress=self.progress,
        )

    async def lint(self) -> list[Finding]:
        """What is wrong, or risky, in the migration files; needs no ledger and no tenant."""
        from ledger.api.lint import lint_config

        return await lint_config(self.config)

    async def head(self) -> Head:
        """The ledger's last seq and its hash: an anchor for `verify`, to be kept elsewhere."""
        async with self._ready() as ready:
            return await ready.store.head()

    async def version_documents(self, tenants: Tenants = "*") -> list[dict[str, Any]]:
        """Each tenant and set in the shape of a version.json, with its state filled in."""
        from ledger.api.export import version_documents

        async with self._reading() as ready:
            fleet = await load_fleet(ready.store)
            chosen = await self._with_strangers(ready, await self._choose(ready, tenants), fleet)
            return await version_documents(
                ready.store,
                fleet,
                chosen,
                head=await ready.store.head(),
                now=await ready.store.now(),
                options=self._options(None, None),
            )
