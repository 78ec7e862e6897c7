"""`doctor` over many tenants: concurrent like migrate, and within each server's limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ledger.engines.base import Engine, Target
from ledger.fleet.fanout import each_target
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
    return tuple(
        await each_target(
            targets,
            lambda target: examine_tenant(
                engine_of(target.engine), target, fleet.tenant(target.name), ledger_id, quick=quick
            ),
            command="doctor",
            parallel=parallel,
            progress=progress,
            outcome=lambda one: ("valid" if one.fine else "invalid", ""),
        )
    )
