"""`backups prune` over many tenants."""

from __future__ import annotations

from ledger.calls.call import Call
from ledger.engines.base import Target
from ledger.fleet.report import RunReport
from ledger.plan import Catalogue
from ledger.requests import PlanPrune, Prune
from ledger.runner.kept import KeptBackup, all_backups
from ledger.runner.outcome import Outcome
from ledger.runner.prune import Pruning, plan_tenant, prune_tenant
from ledger.stores.filters import moment_text


async def plan_prune(call: Call, request: PlanPrune) -> tuple[Pruning, ...]:
    """What would go, for each chosen tenant."""
    before = None if request.before is None else moment_text(request.before)
    by_tenant: dict[str, list[KeptBackup]] = {}
    for one in await all_backups(call.ctx.store):
        by_tenant.setdefault(one.tenant, []).append(one)
    return tuple(
        [
            await plan_tenant(
                by_tenant.get(target.name, ()), target.name, keep=request.keep or 0, before=before
            )
            for target in call.targets
        ]
    )


async def prune(call: Call, request: Prune) -> RunReport:
    """Delete what `plan_prune` names, recorded as a run; a tenant without any stays out of it."""
    plans = {one.tenant: one for one in await plan_prune(call, request)}

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        return await prune_tenant(call.ctx, target, plans[target.name])

    todo = [
        target
        for target in call.targets
        if (plan := plans[target.name]).delete or plan.leftovers or plan.problem
    ]
    options = {"keep": str(request.keep)} if request.keep is not None else {}
    if request.before is not None:
        options["before"] = request.before
    return await call.run(work, todo, options=options)
