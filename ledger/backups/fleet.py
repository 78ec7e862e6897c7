"""`backups list`, `verify` and `prune` over many tenants."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.backups.check import BackupCheck, check_backup
from ledger.backups.prune import Pruning, plan_tenant, prune_tenant
from ledger.calls.call import Call
from ledger.calls.discovery import exact_names
from ledger.calls.tenants import matches_any
from ledger.engines.base import Target
from ledger.fleet.fanout import each
from ledger.fleet.report import RunReport
from ledger.fleet.state import load_fleet
from ledger.plan import Catalogue
from ledger.requests import PlanPrune, Prune
from ledger.runner.kept import KeptBackup, all_backups
from ledger.runner.outcome import Outcome
from ledger.stores.filters import moment_text
from ledger.stores.store import Store


async def tenants_named(store: Store, patterns: Sequence[str]) -> set[str]:
    """The ledger's tenants that patterns name, other than by `*`: the configuration may find them no more."""
    named = [pattern for pattern in patterns if pattern != "*"]
    if not named:
        return set()
    known = (await load_fleet(store, exact_names(named))).tenants
    return {tenant for tenant in known if matches_any(tenant, named)}


async def check_backups(kept: Sequence[KeptBackup], *, parallel: int) -> list[BackupCheck]:
    """Read each of them through, at most `parallel` at once."""
    return await each(kept, check_backup, parallel=parallel)


async def plan_prune(call: Call, request: PlanPrune) -> tuple[Pruning, ...]:
    """What would go, for each chosen tenant."""
    before = None if request.before is None else moment_text(request.before)
    by_tenant: dict[str, list[KeptBackup]] = {}
    for backup in await all_backups(call.ctx.store, [target.name for target in call.targets]):
        by_tenant.setdefault(backup.tenant, []).append(backup)
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
    plans = {plan.tenant: plan for plan in await plan_prune(call, request)}

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
