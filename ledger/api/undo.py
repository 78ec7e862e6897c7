"""`rollback` and `restore`: which migrations, or which backup, is meant on each tenant; and the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from ledger import events as ev
from ledger.api.call import Call
from ledger.api.history import concerns
from ledger.api.migrate import with_unanswered
from ledger.api.tenants import Chosen
from ledger.engines.base import Target
from ledger.errors import UnknownTenantError, UsageError
from ledger.events import MigrationRef
from ledger.fleet.planning import FleetPlan
from ledger.fleet.plans import rollback_plan
from ledger.fleet.report import RunReport
from ledger.plan import Catalogue, decide_rollback, standing
from ledger.projections import Applied, RunState
from ledger.requests import PlanRollback, Restore, Rollback
from ledger.runner.context import RunContext
from ledger.runner.holder import life_of
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.outcome import Outcome
from ledger.runner.undo import restore_tenant, rollback_tenant
from ledger.stores.base import Filter
from ledger.stores.filters import moment_text

ASIDE: Final = frozenset({"unlock", "resolve", "prune", "validate"})
"""Commands between two rollbacks that change no tenant's version."""

Choose = Callable[[Target, Catalogue], Callable[[Applied], Sequence[MigrationRef]]]


async def plan_rollback(call: Call, request: PlanRollback) -> FleetPlan:
    """What `rollback` would do, with what each backup would lose."""
    choose = await rollback_chooser(call, request)
    engines = call.ready.engines.__getitem__
    targets, catalogues = call.targets, call.chosen.catalogues
    plan = await rollback_plan(call.ctx, targets, catalogues, engines, choose, request.by)
    return with_unanswered(plan, call.chosen)


async def rollback(call: Call, request: Rollback) -> RunReport:
    """Undo what `request` means on each tenant."""
    choose = await rollback_chooser(call, request)

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        after = choose(target, catalogue)
        engine = call.engine(target)
        return await rollback_tenant(call.ctx, engine, target, catalogue, after, by=request.by)

    def work_of(target: Target) -> Sequence[MigrationRef]:
        return choose(target, call.catalogue(target))(standing(call.ctx.state(target.name)))

    return await call.run(
        work,
        [target for target in call.targets if work_of(target)],
        target_version=request.to or request.migration,
        options={"by": request.by} | ({"run": request.run} if request.run else {}),
        work_of=work_of,
    )


async def restore(call: Call, request: Restore) -> RunReport:
    """Put back a backup of each tenant."""
    before = None if request.at is None else moment_text(request.at)
    kept = {
        target.name: pick_backup(
            await kept_backups(call.ready.store, target.name), target.name, request.backup, before
        )
        for target in call.targets
    }

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        target = msgspec.structs.replace(target, for_restore=True)
        engine = call.engine(target)
        return await restore_tenant(call.ctx, engine, target, catalogue, kept[target.name])

    return await call.run(work)


async def rollback_chooser(call: Call, request: PlanRollback) -> Choose:
    """What to undo on each tenant: the last one, one `migration`, all after `to`, or what `run` applied.

    "The last one" goes on with a rollback of the same kind that did not come to its end: typed
    again it takes no tenant back by one more.

    Raises UsageError for a run that is not recorded, for a `migration` that is neither in the
    folder nor in the ledger, and for a `to` that none of the tenants has. A `migration` that is
    undone everywhere leaves nothing to do.
    """
    ctx, migration, to, run = call.ctx, request.migration, request.to, request.run
    by_run = await _applied_by_run(ctx, run) if run is not None else None
    version = migration or (to if to != "0" else None)
    if version is not None:
        await _require_known(ctx, call.chosen, version, applied=migration is None)
    bare = migration is None and to is None and run is None
    done = await _taken_back(ctx) if bare else frozenset[str]()
    # What is undone is settled once, from the state at the beginning: a tenant
    # that is looked at again after a conflict must not lose one more migration.
    settled: dict[str, frozenset[tuple[str, str]]] = {}

    def choose(target: Target, catalogue: Catalogue) -> Callable[[Applied], Sequence[MigrationRef]]:
        migrations = {(one.ref.set, one.ref.version): one for one in catalogue.order}
        if target.name in done:
            settled[target.name] = frozenset()
        if target.name not in settled:
            first = decide_rollback(
                standing(ctx.state(target.name)),
                migrations,
                version=migration,
                to=to,
                only=None if by_run is None else by_run.get(target.name, frozenset()),
            )
            settled[target.name] = frozenset((ref.set, ref.version) for ref in first)
        only = settled[target.name]
        return lambda applied: decide_rollback(applied, migrations, only=only)

    return choose


async def _taken_back(ctx: RunContext) -> frozenset[str]:
    """Tenants that the newest runs took back by one, if these runs did not come to their end."""
    done: set[str] = set()
    for run in sorted(ctx.fleet.runs.values(), key=lambda one: one.started_at, reverse=True):
        if run.command in ASIDE:
            continue
        if run.command != "rollback" or run.target is not None or not _cut_short(run):
            break
        async for rows in ctx.store.read(
            Filter(run=run.run, types=("run_started", "rolled_back", "restored"))
        ):
            for row in rows:
                event = row.data
                if isinstance(event, ev.RunStarted) and "run" in event.options:
                    return frozenset(done)
                if row.tenant is not None:
                    done.add(row.tenant)
    return frozenset(done)


def _cut_short(run: RunState) -> bool:
    """Killed, interrupted, or with tenants that failed; one that lives is waited for, tenant by tenant."""
    if not run.finished_at:
        return run.holder is None or life_of(run.holder, run.run) != "alive"
    return run.interrupted or not set(run.outcomes) <= {"rolled_back", "current"}


async def _require_known(ctx: RunContext, chosen: Chosen, version: str, *, applied: bool) -> None:
    """Raises UsageError for a version that is not `applied`; or, without that, never was and cannot be."""
    states = [ctx.state(target.name) for target in chosen.targets]
    refs = {ref for one in states for ref in (one.applied if applied else standing(one))}
    if _named(refs, version):
        return
    names = sorted(ref.id for ref in refs)
    if applied:
        raise UsageError(
            f"version {version} is not applied on any of the chosen tenants",
            hint="Applied: " + (", ".join(names) or "nothing") + ".",
        )
    catalogues = {id(one): one for one in chosen.catalogues.values()}.values()
    if _named([one.ref for catalogue in catalogues for one in catalogue.order], version):
        return
    async for rows in ctx.store.read(Filter(types=("completed", "rolled_back"))):
        if any(concerns(row, version) for row in rows):
            return
    raise UsageError(
        f"there is no migration {version}, in the folder or in the ledger",
        hint="Applied: " + (", ".join(names) or "nothing") + ".",
    )


def _named(refs: Iterable[MigrationRef], version: str) -> bool:
    return any(version in (ref.version, ref.id) for ref in refs)


async def _applied_by_run(ctx: RunContext, run: str) -> dict[str, frozenset[tuple[str, str]]]:
    """What a run applied, or left in part, tenant by tenant. Raises UsageError for a run that is not recorded."""
    if run not in ctx.fleet.runs:
        raise UsageError(f"no run has the id {run}", hint="`ledger runs` lists them.")
    applied: dict[str, set[tuple[str, str]]] = {}
    halves = {
        name: {half.id for half in state.halves}
        for name, state in ctx.fleet.tenants.items()
        if state.left or state.landed
    }
    async for rows in ctx.store.read(Filter(run=run, types=("completed", "step_applied"))):
        for row in rows:
            event = row.data
            if row.tenant is None:
                continue
            if isinstance(event, ev.Completed):
                key = (event.migration.set, event.migration.version)
            elif isinstance(event, ev.StepApplied) and event.direction == "up":
                key = (event.set, event.version)
                if f"{event.set}/{event.version}" not in halves.get(row.tenant, ()):
                    continue
            else:
                continue
            applied.setdefault(row.tenant, set()).add(key)
    return {tenant: frozenset(keys) for tenant, keys in applied.items()}


def pick_backup(
    backups: list[KeptBackup], tenant: str, wanted: int | str | None, before: str | None
) -> KeptBackup:
    """The newest backup, the one with this event seq or path, or the newest from before a time.

    Raises UnknownTenantError where there is none.
    """
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
