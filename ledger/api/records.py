"""The commands that change what is recorded of tenants: `baseline`, `unlock`, `resolve`."""

from __future__ import annotations

from typing import Literal

from ledger.calls.call import Call
from ledger.engines.base import Target
from ledger.fleet.planning import left_alone
from ledger.fleet.report import RunReport
from ledger.plan import Catalogue, others, up_to
from ledger.requests import Baseline
from ledger.runner.outcome import Outcome
from ledger.runner.settle import baseline_tenant, resolve_tenant, unlock_tenant


async def baseline(call: Call, request: Baseline) -> RunReport:
    """Count everything up to `to` as applied, without running it."""
    ctx, catalogues = call.ctx, call.chosen.catalogues
    alone = others(catalogues, request.to)
    wanted = {
        id(each_catalogue): up_to(each_catalogue, request.to)
        for name, each_catalogue in catalogues.items()
        if name not in alone
    }

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        bound = [ctx.bound(migration, target.variables) for migration in wanted[id(catalogue)]]
        return await baseline_tenant(ctx, call.engine(target), target, catalogue, bound)

    return await call.run(
        work,
        [target for target in call.targets if target.name not in alone],
        target_version=request.to,
        notes=left_alone(alone, request.to),
        work_of=lambda target: [migration.ref for migration in wanted[id(call.catalogue(target))]],
    )


async def unlock(call: Call) -> RunReport:
    """End the claims on the tenants, whoever holds them, and fence the holders."""

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        return await unlock_tenant(call.ctx, call.engine(target), target)

    return await call.run(
        work, [target for target in call.targets if call.ctx.state(target.name).claim is not None]
    )


async def resolve(call: Call, how: Literal["applied", "not_applied"]) -> RunReport:
    """Settle the step in doubt by a person's word."""

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        return await resolve_tenant(call.ctx, target, how)

    return await call.run(work)
