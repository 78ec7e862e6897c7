"""Which migrations a rollback undoes on each tenant.

Invariant: it is settled once, from the state at the beginning of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ledger import events as ev
from ledger.calls.call import Call
from ledger.calls.history import concerns
from ledger.calls.tenants import Chosen
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.events import MigrationRef
from ledger.plan import Catalogue, decide_rollback, standing
from ledger.projections import Applied, RunState
from ledger.requests import PlanRollback
from ledger.runner.context import RunContext
from ledger.runner.holder import life_of
from ledger.stores.base import Filter

ASIDE: Final = frozenset({"unlock", "resolve", "prune", "validate"})
"""Commands between two rollbacks that change no tenant's version."""

Choose = Callable[[Target, Catalogue], Callable[[Applied], Sequence[MigrationRef]]]


async def rollback_chooser(call: Call, request: PlanRollback) -> Choose:
    """What to undo on each tenant: the last one, one `migration`, all after `to`, or what `run` applied.

    "The last one" goes on with a rollback of the same kind that did not come to its end: typed
    again it takes no tenant back by one more.

    Raises UsageError for a run that is not recorded, for a `migration` that is neither in the
    folder nor in the ledger, and for a `to` that none of the tenants has. A `migration` that is
    undone everywhere leaves nothing to do.
    """
    ctx, migration, to, run = call.ctx, request.migration, request.to, request.run
    by_run = await _applied_by_run(ctx, call.chosen, run) if run is not None else None
    version = migration or (to if to != "0" else None)
    if version is not None:
        await _require_known(ctx, call.chosen, version, applied=migration is None)
    bare = migration is None and to is None and run is None
    done = await _taken_back(ctx, call.chosen) if bare else frozenset[str]()
    # What is undone is settled once, from the state at the beginning: a tenant
    # that is looked at again after a conflict must not lose one more migration.
    settled: dict[str, frozenset[tuple[str, str]]] = {}

    def choose(target: Target, catalogue: Catalogue) -> Callable[[Applied], Sequence[MigrationRef]]:
        migrations = {(each.ref.set, each.ref.version): each for each in catalogue.order}
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


async def _taken_back(ctx: RunContext, chosen: Chosen) -> frozenset[str]:
    """Chosen tenants that the newest runs took back by one, if these runs did not come to their end."""
    done: set[str] = set()
    names = [target.name for target in chosen.targets]
    for run in sorted(ctx.fleet.runs.values(), key=lambda run: run.started_at, reverse=True):
        if run.command in ASIDE:
            continue
        if run.command != "rollback" or run.target is not None or not _cut_short(run):
            break
        if await _is_of_a_run(ctx, run):
            break
        for name in names:
            where = Filter(stream=f"tenant/{name}", run=run.run, types=("rolled_back", "restored"))
            async for _ in ctx.store.read(where):
                done.add(name)
    return frozenset(done)


async def _is_of_a_run(ctx: RunContext, run: RunState) -> bool:
    """Whether a rollback was of what one run had applied."""
    where = Filter(stream=f"run/{run.run}", types=("run_started",))
    async for rows in ctx.store.read(where):
        for row in rows:
            return isinstance(row.data, ev.RunStarted) and "run" in row.data.options
    return False


def _cut_short(run: RunState) -> bool:
    """Killed, interrupted, or with tenants that failed; one that lives is waited for, tenant by tenant."""
    if not run.finished_at:
        return run.holder is None or life_of(run.holder, run.run) != "alive"
    return run.interrupted or not set(run.outcomes) <= {"rolled_back", "current"}


async def _require_known(ctx: RunContext, chosen: Chosen, version: str, *, applied: bool) -> None:
    """Raises UsageError for a version that is not `applied`; or, without that, never was and cannot be."""
    states = [ctx.state(target.name) for target in chosen.targets]
    refs = {ref for state in states for ref in (state.applied if applied else standing(state))}
    if _named(refs, version):
        return
    names = sorted(ref.id for ref in refs)
    if applied:
        raise UsageError(
            f"version {version} is not applied on any of the chosen tenants",
            hint="Applied: " + (", ".join(names) or "nothing") + ".",
        )
    catalogues = {id(catalogue): catalogue for catalogue in chosen.catalogues.values()}.values()
    if _named([each.ref for catalogue in catalogues for each in catalogue.order], version):
        return
    for target in chosen.targets:
        where = Filter(stream=f"tenant/{target.name}", types=("completed", "rolled_back"))
        async for rows in ctx.store.read(where):
            if any(concerns(row, version) for row in rows):
                return
    raise UsageError(
        f"there is no migration {version}, in the folder or in the events of the chosen tenants",
        hint="Applied: " + (", ".join(names) or "nothing") + ".",
    )


def _named(refs: Iterable[MigrationRef], version: str) -> bool:
    return any(version in (ref.version, ref.id) for ref in refs)


async def _applied_by_run(
    ctx: RunContext, chosen: Chosen, run: str
) -> dict[str, frozenset[tuple[str, str]]]:
    """What a run applied, or left in part, by chosen tenant. Raises UsageError for a run that is not recorded."""
    if run not in ctx.fleet.runs:
        raise UsageError(f"no run has the id {run}", hint="`ledger runs` lists them.")
    return {target.name: await _applied_to(ctx, target.name, run) for target in chosen.targets}


async def _applied_to(ctx: RunContext, tenant: str, run: str) -> frozenset[tuple[str, str]]:
    state = ctx.state(tenant)
    halves = {half.ref.key for half in state.halves} if state.left or state.landed else set()
    applied: set[tuple[str, str]] = set()
    where = Filter(stream=f"tenant/{tenant}", run=run, types=("completed", "step_applied"))
    async for rows in ctx.store.read(where):
        for row in rows:
            event = row.data
            if isinstance(event, ev.Completed):
                applied.add(event.migration.key)
            elif isinstance(event, ev.StepApplied) and event.direction == "up":
                applied |= {(event.set, event.version)} & halves
    return frozenset(applied)
