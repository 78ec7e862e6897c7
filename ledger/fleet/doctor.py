"""`doctor` over many tenants: concurrent like migrate, and within each server's limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import anyio

from ledger.engines.base import Engine, Target
from ledger.fleet.progress import Progress
from ledger.projections import FleetState
from ledger.runner.doctor import Examined, examine_tenant


async def examine_fleet(
    targets: Sequence[Target],
    engine_of: Callable[[str], Engine],
    fleet: FleetState,
    ledger_id: str,
    *,
    quick: bool,
    parallel: int,
    progress: Progress,
) -> tuple[Examined, ...]:
    """Examine every target, in the targets' order."""
    found: dict[str, Examined] = {}
    limits: dict[str, anyio.CapacityLimiter] = {}
    waiting = list(reversed(targets))
    progress.run_started(len(targets), "doctor")

    async def worker() -> None:
        while waiting:
            target = waiting.pop()
            width = target.max_connections if target.server else parallel
            limit = limits.setdefault(target.server, anyio.CapacityLimiter(width))
            async with limit:
                progress.tenant_started(target.name)
                began = time.perf_counter()
                examined = await examine_tenant(
                    engine_of(target.engine),
                    target,
                    fleet.tenant(target.name),
                    ledger_id,
                    quick=quick,
                )
                found[target.name] = examined
                word = "valid" if examined.fine else "invalid"
                progress.tenant_finished(target.name, word, "", time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(min(parallel, len(targets))):
            group.start_soon(worker)
    return tuple(found[target.name] for target in targets)
