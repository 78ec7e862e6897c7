"""`plan --estimate`: how long what is pending takes, from what the ledger holds; no tenant is opened."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ledger import events as ev
from ledger.calls.tenants import Chosen
from ledger.engines.base import Target
from ledger.estimate import Estimate, Lane, Sample, estimate, together
from ledger.fleet.planning import FleetPlan, TenantPlan
from ledger.projections import FleetState
from ledger.stores.base import Filter
from ledger.stores.store import Store


async def with_estimates(
    plan: FleetPlan, store: Store, fleet: FleetState, chosen: Chosen, *, parallel: int
) -> FleetPlan:
    """The plan, with how long each migration took elsewhere, and all of it together."""
    wanted = {migration.id for tenant in plan.tenants for migration in tenant.migrations}
    samples = await _samples(store, wanted)
    made: dict[tuple[str, int | None, float | None], Estimate] = {}
    tenants = []
    for tenant in plan.tenants:
        mark = fleet.tenant(tenant.tenant).mark
        size = mark.bytes if mark is not None else None
        estimates = []
        for migration in tenant.migrations:
            key = (migration.id, size, migration.estimated_seconds)
            if key not in made:
                made[key] = estimate(
                    migration.id,
                    samples.get(migration.id, ()),
                    bytes_now=size,
                    manifest_seconds=migration.estimated_seconds,
                )
            estimates.append(made[key])
        tenants.append(msgspec.structs.replace(tenant, estimates=tuple(estimates)))
    targets = {target.name: target for target in chosen.targets}
    lanes = _lanes(tenants, targets, parallel)
    return msgspec.structs.replace(
        plan, tenants=tuple(tenants), estimate=together(lanes, parallel=parallel)
    )


async def _samples(store: Store, wanted: set[str]) -> dict[str, list[Sample]]:
    """How long each of these migrations took wherever it was applied."""
    samples: dict[str, list[Sample]] = {}
    if not wanted:
        return samples
    async for rows in store.read(Filter(types=("completed",))):
        for row in rows:
            event = row.data
            if not isinstance(event, ev.Completed):
                continue
            migration = event.migration.id
            if migration in wanted:
                size = event.mark.bytes if event.bytes_before is None else event.bytes_before
                taken = Sample(duration_us=event.duration_us, bytes=size)
                samples.setdefault(migration, []).append(taken)
    return samples


def _lanes(
    tenants: list[TenantPlan], targets: Mapping[str, Target], parallel: int
) -> tuple[Lane, ...]:
    """What runs, by the limit that it shares: a server's connections, or none for files."""
    grouped: dict[str, list[tuple[Estimate, ...]]] = {}
    widths: dict[str, int] = {}
    for tenant in tenants:
        if not tenant.estimates or tenant.problem:
            continue
        target = targets[tenant.tenant]
        grouped.setdefault(target.server, []).append(tenant.estimates)
        widths[target.server] = target.max_connections if target.server else parallel
    return tuple(
        Lane(width=widths[server], estimates=tuple(found)) for server, found in grouped.items()
    )
