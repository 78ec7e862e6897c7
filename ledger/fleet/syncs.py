"""What the sections sync of a plan come to on each tenant: computed by reading it, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ledger.engines.base import Engine, Target
from ledger.errors import LedgerError
from ledger.fleet.fanout import each_target
from ledger.fleet.planning import Decisions, FleetPlan, PlannedMigration, PlannedStep, TenantPlan
from ledger.fleet.progress import Progress
from ledger.plan import Catalogue
from ledger.scripts.model import Migration
from ledger.scripts.placeholders import bind
from ledger.sync.drift import change_text

BEFORE_IT = "computed for the tenant as it is now; what runs before it may leave less to do"


async def with_syncs(
    plan: FleetPlan,
    targets: Sequence[Target],
    catalogues: Mapping[str, Catalogue],
    decisions: Decisions,
    engine_of: Callable[[str], Engine],
    *,
    parallel: int,
) -> FleetPlan:
    """The plan with the statements of each pending section sync, after the migration's own.

    Reads the tenants concerned, at most `parallel` at once and at most its limit on a
    server; one that cannot be read is left as it was planned, with a note that says so.
    """
    made = {tenant.tenant: tenant for tenant in plan.tenants}
    pending: dict[str, Sequence[Migration]] = {}
    syncs: dict[int, bool] = {}
    for target in targets:
        decision = decisions.of(target.name, catalogues[target.name])
        if id(decision) not in syncs:
            has_sync = any(each.sync for each in decision.pending)
            syncs[id(decision)] = has_sync and decision.problem is None
        if syncs[id(decision)]:
            pending[target.name] = decision.pending

    async def plan_target(target: Target) -> TenantPlan:
        engine = engine_of(target.engine)
        return await _planned(made[target.name], target, pending[target.name], engine)

    read = await each_target(
        [target for target in targets if target.name in pending],
        plan_target,
        command="plan",
        parallel=parallel,
        progress=Progress(),
        outcome=lambda _: ("planned", ""),
    )
    made |= {tenant.tenant: tenant for tenant in read}
    tenants = tuple(made[tenant.tenant] for tenant in plan.tenants)
    return msgspec.structs.replace(plan, tenants=tenants)


async def _planned(
    tenant: TenantPlan, target: Target, pending: Sequence[Migration], engine: Engine
) -> TenantPlan:
    planned: list[PlannedMigration] = []
    for number, (migration, shown) in enumerate(zip(pending, tenant.migrations, strict=True)):
        if not migration.sync:
            planned.append(shown)
            continue
        sync = bind(migration, target.variables).sync
        try:
            async with engine.open(target) as session:
                found = await session.plan_sync(sync)
        except LedgerError as error:
            note = f"sync: what it comes to could not be computed: {error.message}"
            planned.append(msgspec.structs.replace(shown, notes=(note,)))
            continue
        steps = [
            PlannedStep(
                number=len(shown.steps) + step.number,
                name=step.name,
                sql="(secret)" if step.secret else step.sql,
            )
            for step in found.steps
        ]
        notes = [f"sync leaves {change_text(change)}" for change in found.drift]
        if number or shown.steps:
            notes.append(f"sync: {BEFORE_IT}")
        planned.append(
            msgspec.structs.replace(shown, steps=(*shown.steps, *steps), notes=tuple(notes))
        )
    return msgspec.structs.replace(tenant, migrations=tuple(planned))
