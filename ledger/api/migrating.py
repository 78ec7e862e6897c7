"""The run of `migrate`: in this process, or with worker processes for tenants that can be worked on in batches."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.api.opened import Chosen, Opened
from ledger.api.running import run_call
from ledger.engines.base import Target
from ledger.events import MigrationRef
from ledger.fleet.bulk.executor import Executor
from ledger.fleet.bulk.processes import LANES, how_many, with_processes
from ledger.fleet.bulk.run import Bulk
from ledger.fleet.planning import Decisions
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
    decisions: Decisions,
) -> RunReport:
    """Migrate `todo`; tenants in `changed` have their markers compared first."""
    config = ready.config
    refs: dict[int, tuple[MigrationRef, ...]] = {}

    def work_of(target: Target) -> tuple[MigrationRef, ...]:
        """Made once for all tenants for which the same was decided."""
        pending = decisions.of(target.name, chosen.catalogues[target.name]).pending
        if id(pending) not in refs:
            refs[id(pending)] = tuple(one.ref for one in pending)
        return refs[id(pending)]

    async def run(executor: Executor | None) -> RunReport:
        async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
            return await migrate_tenant(
                ctx,
                ready.engines[target.engine],
                target,
                catalogue,
                options,
                inspect=target.name in changed,
            )

        bulk = (
            None
            if executor is None
            else Bulk(
                ctx,
                executor,
                chosen.catalogues.__getitem__,
                Decisions(ctx.fleet, options),
                lanes=lanes,
                but=changed,
            )
        )
        return await run_call(
            ctx,
            chosen,
            todo,
            work,
            bounds,
            progress,
            target_version=options.to,
            bulk=bulk,
            work_of=work_of,
        )

    workers = min(how_many(config.workers, todo, chosen.catalogues), bounds.parallel)
    # Servers' tenants are worked on beside them, and must not wait for the last file.
    share = bounds.parallel // 2 if any(target.server for target in todo) else bounds.parallel
    lanes = max(1, min(share, LANES * workers))
    if not workers:
        return await run(None)
    return await with_processes(workers, {target.engine for target in todo}, run)
