"""`reset`: going back by really undoing, by the records alone, or by dropping what was created."""

from __future__ import annotations

from ledger.api.choosing import rollback_chooser
from ledger.api.opened import Chosen, Opened
from ledger.api.running import run_call
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.fleet.planning import left_alone
from ledger.fleet.progress import Progress
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds
from ledger.plan import Catalogue, others, standing, up_to
from ledger.runner.context import RunContext
from ledger.runner.outcome import Outcome
from ledger.runner.reset import Resetting, drop_tenant, mark_tenant, marked_refs, plan_drop
from ledger.runner.undo import How, rollback_tenant
from ledger.scripts.model import Migration


def require_one_way(*, to: str | None, mark_only: bool, drop_all: bool) -> None:
    """Raises UsageError unless it is exactly `to` (perhaps with `mark_only`) or `drop_all`."""
    if (to is None) == (not drop_all) or (drop_all and mark_only):
        raise UsageError(
            "a reset goes --to a version, or drops everything with --drop-all",
            hint="Write `ledger reset --tenant NAME --to VERSION`, with --mark-only if the tenant is not to be"
            " touched, or `ledger reset --tenant NAME --drop-all`.",
        )


def _alone(chosen: Chosen, to: str) -> tuple[str, ...]:
    """The tenants that follow no set with `to`. Raises UsageError if all do so."""
    return () if to == "0" else others(chosen.catalogues, to)


def _marked(catalogue: Catalogue, to: str) -> tuple[tuple[Migration, ...], frozenset[str]]:
    """What counts as applied up to `to`, and the sets that it speaks of. Raises UsageError."""
    if to == "0":
        return (), frozenset(one.name for one in catalogue.sets)
    found = catalogue.find(to)
    return tuple(up_to(catalogue, to)), frozenset(
        (found.ref.set,)
    ) if found is not None else frozenset()


async def plan_reset(
    ctx: RunContext, ready: Opened, chosen: Chosen, *, to: str | None, drop_all: bool
) -> tuple[Resetting, ...]:
    """What `--drop-all` or `--mark-only` would do to each tenant; touches nothing."""
    plans = []
    alone = _alone(chosen, to or "0")
    for target in chosen.targets:
        if target.name in alone:
            continue
        catalogue = chosen.catalogues[target.name]
        engine = ready.engines[target.engine]
        if drop_all:
            plans.append(await plan_drop(ctx, engine, target, catalogue))
            continue
        wanted, sets = _marked(catalogue, to or "0")
        was = ctx.state(target.name).applied
        plans.append(
            Resetting(
                tenant=target.name,
                engine=target.engine,
                was=tuple(f"{ref.set}/{ref.version}" for ref in was),
                applied=tuple(
                    f"{ref.set}/{ref.version}" for ref in marked_refs(was, wanted, sets=sets)
                ),
            )
        )
    return tuple(plans)


async def reset(
    ctx: RunContext,
    ready: Opened,
    chosen: Chosen,
    bounds: Bounds,
    progress: Progress,
    *,
    to: str | None,
    mark_only: bool,
    drop_all: bool,
    by: How,
) -> RunReport:
    """Reset the chosen tenants in the one way that was asked for."""
    engines = ready.engines
    marked = {}
    choose = None
    alone: tuple[str, ...] = ()
    if mark_only:
        alone = _alone(chosen, to or "0")
        marked = {
            target.name: _marked(chosen.catalogues[target.name], to or "0")
            for target in chosen.targets
            if target.name not in alone
        }
    elif not drop_all:
        choose = await rollback_chooser(ctx, chosen, migration=None, to=to, run=None)

    async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
        engine = engines[target.engine]
        if drop_all:
            return await drop_tenant(ctx, engine, target, catalogue)
        if choose is not None:
            after = choose(target, catalogue)
            return await rollback_tenant(ctx, engine, target, catalogue, after, by=by)
        wanted, sets = marked[target.name]
        bound = [ctx.bound(one, target.variables) for one in wanted]
        return await mark_tenant(ctx, engine, target, catalogue, bound, sets=sets)

    todo = [
        target
        for target in chosen.targets
        if target.name not in alone
        and (
            choose is None
            or choose(target, chosen.catalogues[target.name])(standing(ctx.state(target.name)))
        )
    ]
    mode = "drop_all" if drop_all else "mark_only" if mark_only else "undo"
    return await run_call(
        ctx,
        chosen,
        todo,
        work,
        bounds,
        progress,
        target_version=to,
        options={"mode": mode},
        notes=left_alone(alone, to),
    )
