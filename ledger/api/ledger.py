"""`Ledger`: everything the command line does, from Python.

Invariant: a method either changes nothing or records what it changed as events;
a tenant's failure is an outcome in the report, what concerns the whole is raised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import anyio
import msgspec

from ledger import events as ev
from ledger.api.opened import Chosen, Opened, choose_tenants, opened
from ledger.api.status import Status, build_status
from ledger.api.verify import VerifyReport, verify_store
from ledger.config import Config, load_config
from ledger.drivers.url import SqliteUrl
from ledger.engines.base import Seen, Target
from ledger.errors import UnknownTenantError, UsageError
from ledger.events import Recorded
from ledger.fleet.planning import Decisions, FleetPlan, refuse_edited
from ledger.fleet.plans import migrate_plan, rollback_plan
from ledger.fleet.progress import Progress, Unwatched
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds, run_fleet
from ledger.fleet.state import load_fleet, replay_fleet, save_after_run
from ledger.fleet.validation import ValidationReport, validate_fleet
from ledger.plan import Catalogue, Options, decide_rollback
from ledger.projections import Applied, FleetState, RunState
from ledger.runner.backups import prepare_folder
from ledger.runner.context import BackupPolicy, RunContext, Settings
from ledger.runner.holder import actor_name, new_run_id
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.migrate import migrate_tenant
from ledger.runner.outcome import Outcome, failure
from ledger.runner.settle import baseline_tenant, resolve_tenant, unlock_tenant
from ledger.runner.undo import How, restore_tenant, rollback_tenant
from ledger.stores.base import Filter, Head

Tenants = str | Sequence[str]
TenantWork = Callable[[RunContext, Target, Catalogue], Awaitable[Outcome]]


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
        self.signals = False
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
            return (await choose_tenants(self.config, ready.engines, _patterns(tenants))).targets

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
    ) -> FleetPlan:
        """What `migrate` would do; touches nothing. Raises ChecksumMismatchError, ScriptError, UsageError."""
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, _patterns(tenants))
            fleet = await load_fleet(ready.store)
            decisions = Decisions(fleet, self._options(to, out_of_order))
            refuse_edited(chosen.targets, chosen.catalogues, decisions)
            return migrate_plan(
                chosen.targets, chosen.catalogues, fleet, decisions, chosen.warnings
            )

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
            ctx, chosen = await self._context(ready, "rollback", tenants, reason="")
            choose = await self._chooser(ctx, chosen, migration=migration, to=to, run=run)
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
        reason: str = "",
    ) -> RunReport:
        """Bring tenants forward; a run is recorded only if there is something to do.

        `backup` overrides the configuration's. Several processes may call this at
        once: each tenant is migrated by one, the others wait for its result.
        """
        async with self._ready(create=True) as ready:
            options = self._options(to, out_of_order)
            ctx, chosen = await self._context(
                ready, "migrate", tenants, reason=reason, backup=backup
            )
            decisions = Decisions(ctx.fleet, options)
            refuse_edited(chosen.targets, chosen.catalogues, decisions)
            plan = migrate_plan(
                chosen.targets, chosen.catalogues, ctx.fleet, decisions, chosen.warnings
            )
            changed = await self._changed(ready, ctx.fleet, chosen)
            todo = [
                target
                for target, one in zip(chosen.targets, plan.tenants, strict=True)
                if one.migrations or one.problem or target.name in changed
            ]

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await migrate_tenant(
                    ctx,
                    ready.engines[target.engine],
                    target,
                    catalogue,
                    options,
                    inspect=target.name in changed,
                )

            report = await self._run(
                ctx,
                chosen,
                todo,
                work,
                Bounds(
                    parallel=parallel or self.config.parallel,
                    on_error=on_error,
                    max_failures=max_failures,
                    signals=self.signals,
                ),
                target_version=to,
            )
            return msgspec.structs.replace(report, warnings=plan.warnings)

    async def _changed(self, ready: Opened, fleet: FleetState, chosen: Chosen) -> set[str]:
        """Tenants that look different from how the last run left them, by the engines' cheap looks."""
        seen: dict[str, list[Seen]] = {}
        applied_ids: dict[int, tuple[str, ...]] = {}
        for target in chosen.targets:
            state = fleet.tenants.get(target.name)
            if state is not None and state.applied and state.mark is not None:
                ids = applied_ids.get(id(state.applied))
                if ids is None:
                    ids = tuple(f"{ref.set}/{ref.version}" for ref in state.applied)
                    applied_ids[id(state.applied)] = ids
                seen.setdefault(target.engine, []).append(
                    Seen(target=target, mark=state.mark, applied=ids)
                )
        changed: set[str] = set()
        for engine, group in seen.items():
            changed |= await ready.engines[engine].changed(group)
        return changed

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
            ctx, chosen = await self._context(
                ready, "rollback", tenants, reason=reason, backup=backup
            )
            choose = await self._chooser(ctx, chosen, migration=migration, to=to, run=run)

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
                if _has_to_undo(ctx, choose(target, chosen.catalogues[target.name]), target)
            ]
            options = {"by": by} | ({"run": run} if run else {})
            return await self._run(
                ctx,
                chosen,
                todo,
                work,
                self._bounds(parallel),
                target_version=to or migration,
                options=options,
            )

    async def _chooser(
        self,
        ctx: RunContext,
        chosen: Chosen,
        *,
        migration: str | None,
        to: str | None,
        run: str | None,
    ) -> Callable[[Target, Catalogue], Callable[[Applied], Sequence[ev.MigrationRef]]]:
        if sum(one is not None for one in (migration, to, run)) > 1:
            raise UsageError(
                "name one migration, --to or --run, not several", hint="Leave all but one out."
            )
        by_run = await _applied_by_run(ctx, run) if run is not None else None
        # What is undone is settled once, from the state at the beginning: a tenant
        # that is looked at again after a conflict must not lose one more migration.
        settled: dict[str, frozenset[tuple[str, str]]] = {}

        def choose(
            target: Target, catalogue: Catalogue
        ) -> Callable[[Applied], Sequence[ev.MigrationRef]]:
            migrations = {(one.ref.set, one.ref.version): one for one in catalogue.order}
            if target.name not in settled:
                first = decide_rollback(
                    ctx.state(target.name).applied,
                    migrations,
                    version=migration,
                    to=to,
                    only=None if by_run is None else by_run.get(target.name, frozenset()),
                )
                settled[target.name] = frozenset((ref.set, ref.version) for ref in first)
            only = settled[target.name]
            return lambda applied: decide_rollback(applied, migrations, only=only)

        return choose

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
            ctx, chosen = await self._context(ready, "restore", tenants, reason=reason)
            kept = {
                target.name: _pick(
                    await kept_backups(ready.store, target.name), target.name, backup, at
                )
                for target in chosen.targets
            }

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                target = msgspec.structs.replace(target, for_restore=True)
                return await restore_tenant(
                    ctx, ready.engines[target.engine], target, kept[target.name]
                )

            return await self._run(ctx, chosen, chosen.targets, work, self._bounds(parallel))

    async def backups(self, tenants: Tenants = "*") -> list[KeptBackup]:
        """All recorded backups of the chosen tenants, oldest first."""
        async with self._ready() as ready:
            chosen = await choose_tenants(self.config, ready.engines, _patterns(tenants))
            names = {target.name for target in chosen.targets}
            return [one for one in await kept_backups(ready.store) if one.tenant in names]

    async def baseline(
        self, tenants: Tenants, *, to: str, parallel: int | None = None, reason: str = ""
    ) -> RunReport:
        """Count everything up to `to` as applied, without running it."""
        async with self._ready(create=True) as ready:
            ctx, chosen = await self._context(ready, "baseline", tenants, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                pending = Decisions(FleetState(), Options(to=to)).of(target.name, catalogue).pending
                bound = [ctx.bound(one, target.variables) for one in pending]
                return await baseline_tenant(ctx, ready.engines[target.engine], target, bound)

            return await self._run(
                ctx, chosen, chosen.targets, work, self._bounds(parallel), target_version=to
            )

    async def unlock(self, tenants: Tenants, *, reason: str) -> RunReport:
        """End the claims on the chosen tenants, whoever holds them, and fence the holders."""
        async with self._ready() as ready:
            ctx, chosen = await self._context(ready, "unlock", tenants, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await unlock_tenant(ctx, ready.engines[target.engine], target)

            todo = [one for one in chosen.targets if ctx.state(one.name).claim is not None]
            return await self._run(ctx, chosen, todo, work, self._bounds(None))

    async def resolve(
        self, tenant: str, *, how: Literal["applied", "not_applied", "restore"], reason: str
    ) -> RunReport:
        """Settle a tenant's step in doubt: by a person's word, or by restoring its newest backup."""
        if how == "restore":
            return await self.restore(tenant, reason=reason)
        async with self._ready() as ready:
            ctx, chosen = await self._context(ready, "resolve", tenant, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await resolve_tenant(ctx, target, how)

            return await self._run(ctx, chosen, chosen.targets, work, self._bounds(None))

    async def validate(
        self, tenants: Tenants = "*", *, parallel: int | None = None
    ) -> ValidationReport:
        """Run every applied migration's checks and compare live schemas with the recorded ones."""
        async with self._ready() as ready:
            ctx, chosen = await self._context(ready, "migrate", tenants, reason="")
            return await validate_fleet(
                ctx,
                chosen.targets,
                chosen.catalogues,
                ready.engines.__getitem__,
                parallel=parallel or self.config.parallel,
                progress=self.progress,
            )

    async def status(self, tenants: Tenants = "*", *, at: str | None = None) -> Status:
        """Where every chosen tenant stands, now or at a time; reads the ledger only."""
        async with self._reading() as ready:
            chosen = await choose_tenants(self.config, ready.engines, _patterns(tenants))
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
        where = Filter(
            tenant=tenant,
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
            kept: list[Recorded] = []
            async for rows in ready.store.read(where):
                for row in rows:
                    if migration is not None and not _concerns(row, migration):
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

    async def verify(self, *, anchor: str | None = None, rebuild: bool = False) -> VerifyReport:
        """Recompute the hash chain and compare every stored projection with a full replay."""
        async with self._ready() as ready:
            return await verify_store(ready.store, anchor=anchor, rebuild=rebuild)

    def _options(self, to: str | None, out_of_order: bool | None) -> Options:
        late = self.config.out_of_order == "apply" if out_of_order is None else out_of_order
        return Options(to=to, out_of_order=late, strict=self.config.strict)

    def _bounds(self, parallel: int | None) -> Bounds:
        return Bounds(parallel=parallel or self.config.parallel, signals=self.signals)

    async def _context(
        self,
        ready: Opened,
        command: ev.Command,
        tenants: Tenants,
        *,
        reason: str,
        backup: BackupPolicy | None = None,
    ) -> tuple[RunContext, Chosen]:
        config = self.config
        chosen = await choose_tenants(config, ready.engines, _patterns(tenants))
        fleet = await load_fleet(ready.store)
        return RunContext(
            store=ready.store,
            ledger_id=ready.store.ledger_id,
            fleet=fleet,
            settings=Settings(
                backups=config.backups,
                backup=backup or config.backup,
                lease_seconds=config.lease_seconds,
                backup_seconds=config.timeouts.backup_seconds,
                strict=config.strict,
            ),
            command=command,
            run=new_run_id(),
            actor=self.actor,
            watcher=self.progress,
            reason=reason,
        ), chosen

    async def _run(
        self,
        ctx: RunContext,
        chosen: Chosen,
        todo: Sequence[Target],
        work: TenantWork,
        bounds: Bounds,
        *,
        target_version: str | None = None,
        options: dict[str, str] | None = None,
    ) -> RunReport:
        """Run what is to do; every other chosen tenant is `current`, every lost source a failure."""
        bounds.failure_budget(len(todo))
        outcomes = {target.name: _current(ctx, target) for target in chosen.targets}
        for lost in chosen.found.lost:
            outcomes[lost.source] = failure(lost.source, lost.error)
        run = ""
        duration_us = 0
        interrupted = False
        if todo:
            if ctx.settings.backup != "never":
                prepare_folder(ctx.settings.backups)
            report = await run_fleet(
                ctx,
                todo,
                lambda target: work(ctx, target, chosen.catalogues[target.name]),
                bounds,
                self.progress,
                target_version=target_version,
                options=options,
            )
            outcomes.update((one.tenant, one) for one in report.outcomes)
            run, duration_us, interrupted = report.run, report.duration_us, report.interrupted
            await save_after_run(ctx)
        return RunReport(
            run=run,
            command=ctx.command,
            outcomes=tuple(outcomes[name] for name in sorted(outcomes)),
            duration_us=duration_us,
            interrupted=interrupted,
        )


def _current(ctx: RunContext, target: Target) -> Outcome:
    applied = ctx.state(target.name).applied
    return Outcome(
        tenant=target.name, result="current", version=applied[-1].version if applied else None
    )


def _patterns(tenants: Tenants) -> list[str]:
    return [tenants] if isinstance(tenants, str) else list(tenants)


def _has_to_undo(
    ctx: RunContext, choose: Callable[[Applied], Sequence[ev.MigrationRef]], target: Target
) -> bool:
    return bool(choose(ctx.state(target.name).applied))


async def _applied_by_run(ctx: RunContext, run: str) -> dict[str, frozenset[tuple[str, str]]]:
    """What a run applied, tenant by tenant. Raises UsageError for a run that is not recorded."""
    if run not in ctx.fleet.runs:
        raise UsageError(f"no run has the id {run}", hint="`ledger runs` lists them.")
    applied: dict[str, set[tuple[str, str]]] = {}
    async for rows in ctx.store.read(Filter(run=run, types=("completed",))):
        for row in rows:
            event = row.event
            if isinstance(event, ev.Completed) and row.tenant is not None:
                key = (event.migration.set, event.migration.version)
                applied.setdefault(row.tenant, set()).add(key)
    return {tenant: frozenset(keys) for tenant, keys in applied.items()}


def _pick(
    backups: list[KeptBackup], tenant: str, wanted: int | str | None, before: str | None
) -> KeptBackup:
    fitting = [
        one
        for one in backups
        if (wanted is None or wanted in (one.seq, one.backup.path))
        and (before is None or one.at < before)
    ]
    if not fitting:
        raise UnknownTenantError(
            f"tenant {tenant} has no such backup" if backups else f"tenant {tenant} has no backup",
            hint=f"`ledger backups --tenant {tenant}` lists what there is.",
        )
    return fitting[-1]


def _concerns(row: Recorded, migration: str) -> bool:
    """Whether an event speaks of VERSION or SET/VERSION."""
    event = row.event
    ref = getattr(event, "migration", None)
    set_name = getattr(event, "set", None) or getattr(ref, "set", None)
    version = getattr(event, "version", None) or getattr(ref, "version", None)
    return migration in (version, f"{set_name}/{version}")
