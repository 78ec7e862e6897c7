"""`reset` over many tenants: by really undoing, by the records alone, or by dropping what was created."""

from __future__ import annotations

from ledger.calls.call import Call
from ledger.calls.rollback import rollback_chooser
from ledger.calls.tenants import Chosen
from ledger.engines.base import Target
from ledger.fleet.planning import left_alone
from ledger.fleet.report import RunReport
from ledger.plan import Catalogue, others, standing, up_to
from ledger.requests import PlanReset, PlanRollback, Reset
from ledger.reset.tenant import Resetting, drop_tenant, mark_tenant, marked_refs, plan_drop
from ledger.runner.outcome import Outcome
from ledger.runner.undo import rollback_tenant
from ledger.scripts.model import Migration


def _alone(chosen: Chosen, to: str) -> tuple[str, ...]:
    """The tenants that follow no set with `to`. Raises UsageError if all do so."""
    return () if to == "0" else others(chosen.catalogues, to)


def _marked(catalogue: Catalogue, to: str) -> tuple[tuple[Migration, ...], frozenset[str]]:
    """What counts as applied up to `to`, and the sets that it speaks of. Raises UsageError."""
    if to == "0":
        return (), frozenset(each.name for each in catalogue.sets)
    found = catalogue.find(to)
    sets = frozenset[str]() if found is None else frozenset((found.ref.set,))
    return tuple(up_to(catalogue, to)), sets


async def plan_reset(call: Call, request: PlanReset) -> tuple[Resetting, ...]:
    """What `drop_all`, or a change of the records up to `to`, would do to each tenant."""
    ctx, to = call.ctx, request.to or "0"
    plans = []
    alone = _alone(call.chosen, to)
    for target in call.targets:
        if target.name in alone:
            continue
        catalogue = call.catalogue(target)
        if request.drop_all:
            plans.append(await plan_drop(ctx, call.engine(target), target, catalogue))
            continue
        wanted, sets = _marked(catalogue, to)
        was = ctx.state(target.name).applied
        plans.append(
            Resetting(
                tenant=target.name,
                engine=target.engine,
                was=tuple(ref.id for ref in was),
                applied=tuple(ref.id for ref in marked_refs(was, wanted, sets=sets)),
            )
        )
    return tuple(plans)


async def reset(call: Call, request: Reset) -> RunReport:
    """Reset the tenants in the one way that was asked for."""
    ctx, to = call.ctx, request.to or "0"
    alone: tuple[str, ...] = ()
    marked = {}
    choose = None
    if request.mark_only:
        alone = _alone(call.chosen, to)
        marked = {
            target.name: _marked(call.catalogue(target), to)
            for target in call.targets
            if target.name not in alone
        }
    elif not request.drop_all:
        choose = await rollback_chooser(call, PlanRollback(to=request.to))

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        engine = call.engine(target)
        if request.drop_all:
            return await drop_tenant(ctx, engine, target, catalogue)
        if choose is not None:
            after = choose(target, catalogue)
            return await rollback_tenant(ctx, engine, target, catalogue, after, by=request.by)
        wanted, sets = marked[target.name]
        bound = [ctx.bound(migration, target.variables) for migration in wanted]
        return await mark_tenant(ctx, engine, target, catalogue, bound, sets=sets)

    def concerned(target: Target) -> bool:
        if choose is None:
            return target.name not in alone
        return bool(choose(target, call.catalogue(target))(standing(ctx.state(target.name))))

    mode = "drop_all" if request.drop_all else "mark_only" if request.mark_only else "undo"
    return await call.run(
        work,
        [target for target in call.targets if concerned(target)],
        target_version=request.to,
        options={"mode": mode},
        notes=left_alone(alone, request.to),
    )
