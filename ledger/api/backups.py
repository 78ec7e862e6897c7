"""`backups prune` and `backups verify` over many tenants."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from ledger.api.opened import Chosen
from ledger.api.running import run_call
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.fleet.progress import Progress
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds
from ledger.plan import Catalogue
from ledger.runner.context import RunContext
from ledger.runner.kept import KeptBackup, all_backups
from ledger.runner.outcome import Outcome
from ledger.runner.prune import BackupCheck, Pruning, check_backup, plan_tenant, prune_tenant
from ledger.stores.filters import moment_text


async def check_backups(found: Sequence[KeptBackup], *, parallel: int) -> list[BackupCheck]:
    """All of them read through, at most `parallel` at once, in the order given."""
    checks: dict[int, BackupCheck] = {}
    limit = anyio.CapacityLimiter(parallel)

    async def check(kept: KeptBackup) -> None:
        async with limit:
            checks[kept.seq] = await check_backup(kept)

    async with anyio.create_task_group() as group:
        for kept in found:
            group.start_soon(check, kept)
    return [checks[kept.seq] for kept in found]


async def plan_prune(
    ctx: RunContext, chosen: Chosen, *, keep: int | None, before: str | None
) -> tuple[Pruning, ...]:
    """What would go, for each chosen tenant. Raises UsageError if neither limit is given."""
    if keep is None and before is None:
        raise UsageError(
            "say which backups may go", hint="Give --keep N, --older-than 30d, or both."
        )
    before = None if before is None else moment_text(before)
    by_tenant: dict[str, list[KeptBackup]] = {}
    for one in await all_backups(ctx.store):
        by_tenant.setdefault(one.tenant, []).append(one)
    return tuple(
        [
            await plan_tenant(
                by_tenant.get(target.name, ()), target.name, keep=keep or 0, before=before
            )
            for target in chosen.targets
        ]
    )


async def prune(
    ctx: RunContext,
    chosen: Chosen,
    bounds: Bounds,
    progress: Progress,
    *,
    keep: int | None,
    before: str | None,
) -> RunReport:
    """Delete what `plan_prune` names, recorded as a run; a tenant without any stays out of it."""
    plans = {one.tenant: one for one in await plan_prune(ctx, chosen, keep=keep, before=before)}

    async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
        return await prune_tenant(ctx, target, plans[target.name])

    todo = [
        target
        for target in chosen.targets
        if (plan := plans[target.name]).delete or plan.leftovers or plan.problem
    ]
    options = {"keep": str(keep)} if keep is not None else {}
    if before is not None:
        options["before"] = before
    return await run_call(ctx, chosen, todo, work, bounds, progress, options=options)
