"""`Ledger`: everything the command line does, from Python.

Invariant: a method either changes nothing or records what it changed as events;
a tenant's failure is an outcome in the report, what concerns the whole is raised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import msgspec

from ledger import events as ev
from ledger.api.backups import check_backups, plan_prune, prune
from ledger.api.choosing import concerns, pick_backup, require_history, rollback_chooser
from ledger.api.doctor import DoctorReport, examine
from ledger.api.explaining import read_queries
from ledger.api.export import version_documents
from ledger.api.figures import fleet_stats, with_estimates
from ledger.api.importing import import_history, plan_import
from ledger.api.lint import lint_config
from ledger.api.maintain import MaintainReport, maintain, make_order
from ledger.api.migrating import migrate_fleet
from ledger.api.opened import Chosen, Opened, choose_tenants, opened
from ledger.api.rehearse import RehearsalReport, Source, rehearse
from ledger.api.reset import plan_reset, require_one_way, reset
from ledger.api.running import Tenants, begin, changed_tenants, patterns, run_call
from ledger.api.schema import live_schema
from ledger.api.status import Status, build_status
from ledger.api.verify import VerifyReport, verify_store
from ledger.config import Config, load_config
from ledger.drivers.url import SqliteUrl
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.events import Recorded
from ledger.fleet.planning import Decisions, FleetPlan, refuse_edited
from ledger.fleet.plans import migrate_plan, rollback_plan
from ledger.fleet.progress import Progress, Unwatched
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds
from ledger.fleet.signals import Signals
from ledger.fleet.state import load_fleet, replay_fleet
from ledger.fleet.validation import ValidationReport, validate_fleet
from ledger.fleet.wishes import with_wishes
from ledger.folder.schema import read_wanted_schema
from ledger.lint import Finding
from ledger.plan import Catalogue, Options
from ledger.projections import FleetState, RunState
from ledger.runner.context import BackupPolicy, RunContext
from ledger.runner.holder import actor_name
from ledger.runner.importing import Asked, Importing
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.outcome import Outcome
from ledger.runner.prune import BackupCheck, Pruning
from ledger.runner.reset import Resetting
from ledger.runner.settle import baseline_tenant, resolve_tenant, unlock_tenant
from ledger.runner.undo import How, restore_tenant, rollback_tenant
from ledger.runner.upkeep import Task
from ledger.schema import Schema
from ledger.stats import Stats
from ledger.stores.base import Filter, Head


class Ledger:
    """One configuration's ledger and fleet.

    Use it as `async with Ledger.open(…) as ledger`, or for a single call as
    `await Ledger.open(…).migrate()`, which opens and closes by itself.
    """

    def __init__(
        self, config: Config, *, actor: str | None = None, progress: Progress | None = None
    ) -> None:
        self.config = config
        self.actor = actor or actor_name()
        self.progress: Progress = progress or Unwatched()
        self.signals: Signals | None = None
        self._stack: AsyncExitStack | None = None
        self._opened: Opened | None = None

    @classmethod
    def open(
        cls,
        config: str | Path | Config | None = None,
        *,
        env: str | None = None,
        actor: str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Read the configuration (a file, or the places INTERFACE.md names). Raises ConfigError."""
        if not isinstance(config, Config):
            config = load_config(Path(config) if config is not None else None, env=env)
        return cls(config, actor=actor, progress=progress)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._stack, self._opened = self._stack, None, None
        if stack is not None:
            await stack.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _ready(self, *, create: bool = False) -> AsyncIterator[Opened]:
        if self._opened is not None:
            yield self._opened
        elif self._stack is not None:
            self._opened = await self._stack.enter_async_context(opened(self.config, create=create))
            yield self._opened
        else:
            async with opened(self.config, create=create) as ready:
                yield ready

    async def init(self) -> Head:
        """Create the ledger if it is not there, and return its head."""
        async with self._ready(create=True) as ready:
            return await ready.store.head()

    async def tenants(self, tenants: Tenants = "*") -> tuple[Target, ...]:
        """The chosen tenants, with the sets that each follows."""
        async with self._reading() as ready:
            return (await choose_tenants(self.config, ready.engines, patterns(tenants))).targets

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Opened]:
        """For calls that must not create a ledger: one that is not there yet reads as an empty one."""
        url = self.config.url
        missing = isinstance(url, SqliteUrl) and not await anyio.Path(url.path).exists()
        if missing and self._opened is None:
            empty = msgspec.structs.replace(self.config, url=SqliteUrl(path=":memory:"))
            async with opened(empty, create=True) as ready:
                yield ready
        else:
            async with self._ready() as ready:
                yield ready

    async def plan(
        self,
        tenants: Tenants = "*",
        *,
        to: str | None = None,
        out_of_order: bool | None = None,
        estimate: bool = False,
        parallel: int | None = None,
    ) -> FleetPlan:
        """What `migrate` would do; touches nothing. Raises ChecksumMismatchError, ScriptError, UsageError.

        A tenant with a pending section sync is read, to say what that comes to.

        With `estimate`, how long it will take with `parallel` at once, by earlier runs.
        """
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
            fleet = await load_fleet(ready.store)
            decisions = Decisions(fleet, self._options(to, out_of_order))
            refuse_edited(chosen.targets, chosen.catalogues, decisions)
            plan = migrate_plan(
                chosen.targets, chosen.catalogues, fleet, decisions, chosen.warnings
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
            if not estimate:
                return plan
            return await with_estimates(plan, ready.store, fleet, chosen, parallel=wide)

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
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "rollback", tenants)
            choose = await rollback_chooser(ctx, chosen, migration=migration, to=to, run=run)
            return await rollback_plan(
                ctx, chosen.targets, chosen.catalogues, ready.engines.__getitem__, choose, by
            )

    async def migrate(
        self,
        tenants: Tenants = "*",
        *,
        to: str | None = None,
        parallel: int | None = None,
        backup: BackupPolicy | None = None,
        on_error: Literal["continue", "stop"] = "continue",
        max_failures: str | None = None,
        out_of_order: bool | None = None,
        explain: str | Path | None = None,
        reason: str = "",
    ) -> RunReport:
        """Bring tenants forward; a run is recorded only if there is something to do.

        `backup` overrides the configuration's. Several processes may call this at
        once: each tenant is migrated by one, the others wait for its result. `explain` is a
        file of named queries whose plans are recorded where a migration changes them.
        """
        async with self._ready(create=True) as ready:
            options = self._options(to, out_of_order)
            ctx, chosen = await self._begin(ready, "migrate", tenants, reason=reason, backup=backup)
            if explain is not None:
                queries = await read_queries(explain, chosen)
                ctx.settings = msgspec.structs.replace(ctx.settings, explain=queries)
            decisions = Decisions(ctx.fleet, options)
            refuse_edited(chosen.targets, chosen.catalogues, decisions)
            plan = migrate_plan(
                chosen.targets, chosen.catalogues, ctx.fleet, decisions, chosen.warnings
            )
            changed = await changed_tenants(ready, ctx.fleet, chosen)
            todo = [
                target
                for target, one in zip(chosen.targets, plan.tenants, strict=True)
                if one.migrations or one.problem or target.name in changed
            ]

            report = await migrate_fleet(
                ready,
                ctx,
                chosen,
                todo,
                changed,
                options,
                Bounds(
                    parallel=parallel or self.config.parallel,
                    on_error=on_error,
                    max_failures=max_failures,
                    signals=self.signals,
                ),
                self.progress,
            )
            return msgspec.structs.replace(report, warnings=(*plan.warnings, *report.warnings))

    async def rollback(
        self,
        tenants: Tenants = "*",
        *,
        migration: str | None = None,
        to: str | None = None,
        run: str | None = None,
        by: How = "auto",
        parallel: int | None = None,
        backup: BackupPolicy | None = None,
        reason: str = "",
    ) -> RunReport:
        """Undo the last migration, one `migration`, all after `to`, or exactly what `run` applied."""
        async with self._ready() as ready:
            ctx, chosen = await self._begin(
                ready, "rollback", tenants, reason=reason, backup=backup
            )
            choose = await rollback_chooser(ctx, chosen, migration=migration, to=to, run=run)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await rollback_tenant(
                    ctx,
                    ready.engines[target.engine],
                    target,
                    catalogue,
                    choose(target, catalogue),
                    by=by,
                )

            todo = [
                target
                for target in chosen.targets
                if choose(target, chosen.catalogues[target.name])(ctx.state(target.name).applied)
            ]
            options = {"by": by} | ({"run": run} if run else {})
            return await run_call(
                ctx,
                chosen,
                todo,
                work,
                self._bounds(parallel),
                self.progress,
                target_version=to or migration,
                options=options,
            )

    async def restore(
        self,
        tenants: Tenants,
        *,
        backup: int | str | None = None,
        at: str | None = None,
        parallel: int | None = None,
        reason: str = "",
    ) -> RunReport:
        """Restore each tenant's newest backup, the newest from before `at`, or one by event seq or path."""
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "restore", tenants, reason=reason)
            kept = {
                target.name: pick_backup(
                    await kept_backups(ready.store, target.name), target.name, backup, at
                )
                for target in chosen.targets
            }

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                target = msgspec.structs.replace(target, for_restore=True)
                return await restore_tenant(
                    ctx, ready.engines[target.engine], target, kept[target.name]
                )

            return await run_call(
                ctx, chosen, chosen.targets, work, self._bounds(parallel), self.progress
            )

    async def backups(self, tenants: Tenants = "*") -> list[KeptBackup]:
        """All recorded backups of the chosen tenants, oldest first."""
        async with self._ready() as ready:
            chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
            names = {target.name for target in chosen.targets}
            return [one for one in await kept_backups(ready.store) if one.tenant in names]

    async def plan_prune(
        self, tenants: Tenants, *, keep: int | None = None, before: str | None = None
    ) -> tuple[Pruning, ...]:
        """Which backups `prune_backups` would delete, and which it keeps whatever was asked."""
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "prune", tenants)
            return await plan_prune(ctx, chosen, keep=keep, before=before)

    async def prune_backups(
        self,
        tenants: Tenants,
        *,
        keep: int | None = None,
        before: str | None = None,
        reason: str = "",
    ) -> RunReport:
        """Delete backups beyond the newest `keep` and from before a time; the newest sound one stays."""
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "prune", tenants, reason=reason)
            return await prune(
                ctx, chosen, self._bounds(None), self.progress, keep=keep, before=before
            )

    async def verify_backups(self, tenants: Tenants = "*") -> list[BackupCheck]:
        """Read every recorded backup through: its hash, and that it opens and is whole."""
        return await check_backups(await self.backups(tenants), parallel=self.config.parallel)

    async def baseline(
        self, tenants: Tenants, *, to: str, parallel: int | None = None, reason: str = ""
    ) -> RunReport:
        """Count everything up to `to` as applied, without running it."""
        async with self._ready(create=True) as ready:
            ctx, chosen = await self._begin(ready, "baseline", tenants, reason=reason)
            decisions = Decisions(FleetState(), Options(to=to))
            for target in chosen.targets:
                decisions.of(target.name, chosen.catalogues[target.name])

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                pending = decisions.of(target.name, catalogue).pending
                bound = [ctx.bound(one, target.variables) for one in pending]
                return await baseline_tenant(ctx, ready.engines[target.engine], target, bound)

            return await run_call(
                ctx,
                chosen,
                chosen.targets,
                work,
                self._bounds(parallel),
                self.progress,
                target_version=to,
            )

    async def plan_reset(
        self, tenants: Tenants, *, to: str | None = None, drop_all: bool = False
    ) -> tuple[Resetting, ...]:
        """What `reset` with `mark_only` or `drop_all` would do to each tenant; touches nothing."""
        require_one_way(to=to, mark_only=False, drop_all=drop_all)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "reset", tenants)
            return await plan_reset(ctx, ready, chosen, to=to, drop_all=drop_all)

    async def reset(
        self,
        tenants: Tenants,
        *,
        to: str | None = None,
        mark_only: bool = False,
        drop_all: bool = False,
        by: How = "auto",
        parallel: int | None = None,
        reason: str = "",
    ) -> RunReport:
        """Undo everything after `to` (or change the records only), or drop all that migrations created."""
        require_one_way(to=to, mark_only=mark_only, drop_all=drop_all)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(
                ready, "reset", tenants, reason=reason, backup="always" if drop_all else None
            )
            return await reset(
                ctx,
                ready,
                chosen,
                self._bounds(parallel),
                self.progress,
                to=to,
                mark_only=mark_only,
                drop_all=drop_all,
                by=by,
            )

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
        asked = Asked(tool=source, table=table, registry=registry, scope=scope, set_name=set_name)
        async with self._reading() as ready:
            ctx, chosen = await self._begin(ready, "import", tenants)
            return await plan_import(ctx, ready, chosen, asked)

    async def import_from(
        self,
        tenants: Tenants,
        *,
        source: str,
        table: str | None = None,
        registry: str | None = None,
        scope: str | None = None,
        set_name: str | None = None,
        parallel: int | None = None,
    ) -> RunReport:
        """Count as applied what another tool's history table says: dbmate, flyway, django …"""
        asked = Asked(tool=source, table=table, registry=registry, scope=scope, set_name=set_name)
        async with self._ready(create=True) as ready:
            ctx, chosen = await self._begin(ready, "import", tenants)
            bounds = self._bounds(parallel)
            return await import_history(ctx, ready, chosen, bounds, self.progress, asked)

    async def unlock(self, tenants: Tenants, *, reason: str) -> RunReport:
        """End the claims on the chosen tenants, whoever holds them, and fence the holders."""
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "unlock", tenants, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await unlock_tenant(ctx, ready.engines[target.engine], target)

            todo = [one for one in chosen.targets if ctx.state(one.name).claim is not None]
            return await run_call(ctx, chosen, todo, work, self._bounds(None), self.progress)

    async def resolve(
        self, tenant: str, *, how: Literal["applied", "not_applied", "restore"], reason: str
    ) -> RunReport:
        """Settle a tenant's step in doubt: by a person's word, or by restoring its newest backup."""
        if how == "restore":
            return await self.restore(tenant, reason=reason)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "resolve", tenant, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await resolve_tenant(ctx, target, how)

            return await run_call(
                ctx, chosen, chosen.targets, work, self._bounds(None), self.progress
            )

    async def maintain(
        self,
        tenants: Tenants,
        *,
        task: Task,
        apply: bool = False,
        table: str | None = None,
        column: str | None = None,
        older_than: str | None = None,
        batch: int = 1000,
        parallel: int | None = None,
        reason: str = "",
    ) -> MaintainReport:
        """Optimise the tenants; find orphans or old rows, and with `apply` delete or archive them.

        `older_than` is an age such as `90d`. Without `apply` nothing is changed (but by `optimize`).
        """
        changes = apply or task == "optimize"
        async with self._ready(create=True) if changes else self._reading() as ready:
            order = make_order(
                task=task,
                apply=apply,
                batch=batch,
                table=table,
                column=column,
                older_than=older_than,
                now=await ready.store.now(),
            )
            ctx, chosen = await self._begin(
                ready, "maintain", tenants, reason=reason, backup="never"
            )
            return await maintain(ctx, ready, chosen, order, self._bounds(parallel), self.progress)

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
        async with self._reading() as ready:
            return await rehearse(
                ready,
                await choose_tenants(self.config, ready.engines, patterns(tenants)),
                await load_fleet(ready.store),
                self._options(to, out_of_order),
                sample=sample,
                source=source,
                parallel=parallel or self.config.parallel,
                progress=self.progress,
            )

    async def validate(
        self,
        tenants: Tenants = "*",
        *,
        schema: str | Path | None = None,
        parallel: int | None = None,
    ) -> ValidationReport:
        """Run every applied migration's checks and compare live schemas with the recorded ones.

        With `schema` they are compared with that file: a snapshot in JSON (as
        `ledger schema` prints it), or SQL that is run in a scratch database.
        """
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "migrate", tenants)
            against = None
            if schema is not None:
                dialects = frozenset(target.engine for target in chosen.targets)
                against = await read_wanted_schema(Path(schema), dialects)
            return await validate_fleet(
                ctx,
                chosen.targets,
                chosen.catalogues,
                ready.engines.__getitem__,
                parallel=parallel or self.config.parallel,
                progress=self.progress,
                against=against,
            )

    async def schema(self, tenant: str) -> Schema:
        """One tenant's live schema, its prefix written `{prefix}`. Raises UsageError for several."""
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, [tenant])
            return await live_schema(ready, chosen, tenant)

    async def status(self, tenants: Tenants = "*", *, at: str | None = None) -> Status:
        """Where every chosen tenant stands, now or at a time; reads the ledger only."""
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
            store = ready.store
            fleet = await (load_fleet(store) if at is None else replay_fleet(store, until=at))
            return build_status(
                fleet,
                chosen,
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
        type: str | None = None,  # noqa: A002 - INTERFACE.md's word
        run: str | None = None,
        actor: str | None = None,
        migration: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Recorded]:
        """Events in seq order; with `limit` the newest that many.

        `migration` is VERSION or SET/VERSION, `tenant`, `run` and `actor` may be globs.
        """
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
                require_history(await load_fleet(ready.store), tenant)
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

    async def runs(self, *, limit: int | None = None) -> list[RunState]:
        """Runs, oldest first; with `limit` the newest that many."""
        async with self._ready() as ready:
            fleet = await load_fleet(ready.store)
            runs = sorted(fleet.runs.values(), key=lambda run: (run.started_at, run.run))
            return runs[-limit:] if limit else runs

    async def stats(
        self, tenants: Tenants = "*", *, migration: str | None = None, steps: int | None = None
    ) -> Stats:
        """Sizes, growth by migration and the slowest `steps`; reads the ledger only."""
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
            fleet = await load_fleet(ready.store)
            return await fleet_stats(ready.store, fleet, chosen, migration=migration, steps=steps)

    async def doctor(
        self, tenants: Tenants = "*", *, quick: bool = False, parallel: int | None = None
    ) -> DoctorReport:
        """Whether all is there that a run will need; no tenant is written, and no event."""
        return await examine(
            self.config,
            patterns(tenants),
            quick=quick,
            parallel=parallel or self.config.parallel,
            progress=self.progress,
        )

    async def lint(self) -> list[Finding]:
        """What is wrong, or risky, in the migration files; needs no ledger and no tenant."""
        return await lint_config(self.config)

    async def head(self) -> Head:
        """The ledger's last seq and its hash: an anchor for `verify`, to be kept elsewhere."""
        async with self._ready() as ready:
            return await ready.store.head()

    async def version_documents(self, tenants: Tenants = "*") -> list[dict[str, Any]]:
        """Each tenant and set in the shape of a version.json, with its state filled in."""
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
            return await version_documents(
                ready.store,
                await load_fleet(ready.store),
                chosen,
                head=await ready.store.head(),
                now=await ready.store.now(),
                options=self._options(None, None),
            )

    async def verify(self, *, anchor: str | None = None, rebuild: bool = False) -> VerifyReport:
        """Recompute the hash chain and compare every stored projection with a full replay."""
        async with self._ready() as ready:
            return await verify_store(ready.store, anchor=anchor, rebuild=rebuild)

    def _options(self, to: str | None, out_of_order: bool | None) -> Options:
        late = self.config.out_of_order == "apply" if out_of_order is None else out_of_order
        return Options(to=to, out_of_order=late, strict=self.config.strict)

    def _bounds(self, parallel: int | None) -> Bounds:
        return Bounds(parallel=parallel or self.config.parallel, signals=self.signals)

    async def _begin(
        self,
        ready: Opened,
        command: ev.Command,
        tenants: Tenants,
        *,
        reason: str = "",
        backup: BackupPolicy | None = None,
    ) -> tuple[RunContext, Chosen]:
        return await begin(
            ready,
            command,
            tenants,
            actor=self.actor,
            progress=self.progress,
            reason=reason,
            backup=backup,
        )
