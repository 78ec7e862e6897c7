"""The run of `migrate`: in this process, or with worker processes for SQLite tenants."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.api.opened import Chosen, Opened
from ledger.api.running import run_call
from ledger.engines.base import Target
from ledger.fleet.pool import Pool, how_many, with_pool
from ledger.fleet.progress import Progress
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds
from ledger.plan import Catalogue, Options
from ledger.runner.context import RunContext
from ledger.runner.migrate import migrate_tenant
from ledger.runner.outcome import Outcome


async def migrate_fleet(
    ready: Opened,
    ctx: RunContext,
    chosen: Chosen,
    todo: Sequence[Target],
    changed: set[str],
    options: Options,
    bounds: Bounds,
    progress: Progress,
) -> RunReport:
    """Migrate `todo`; tenants in `changed` have their markers compared first."""
    config = ready.config

    async def run(pool: Pool | None) -> RunReport:
        async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
            inspect = target.name in changed
            if pool is not None and target.engine == "sqlite":
                return await pool.migrate(target, catalogue, inspect=inspect)
            engine = ready.engines[target.engine]
            return await migrate_tenant(ctx, engine, target, catalogue, options, inspect=inspect)

        return await run_call(ctx, chosen, todo, work, bounds, progress, target_version=options.to)

    workers = how_many(config.workers, todo, chosen.catalogues)
    if workers == 0:
        return await run(None)
    catalogues = list({id(one): one for one in chosen.catalogues.values()}.values())
    limits = {
        "connect_seconds": config.timeouts.connect_seconds,
        "lock_seconds": config.timeouts.lock_seconds,
    }
    return await with_pool(ctx, workers, catalogues, options, limits, run)
