"""`rollback` and `restore`: which migrations, or which backup, is meant on each tenant; and the runs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.api.migrate import with_unanswered
from ledger.calls.call import Call
from ledger.calls.rollback import rollback_chooser
from ledger.engines.base import Target
from ledger.errors import UnknownTenantError
from ledger.events import MigrationRef
from ledger.fleet.planning import FleetPlan
from ledger.fleet.plans import rollback_plan
from ledger.fleet.report import RunReport
from ledger.plan import Catalogue, standing
from ledger.requests import PlanRollback, Restore, Rollback
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.outcome import Outcome
from ledger.runner.undo import restore_tenant, rollback_tenant
from ledger.stores.filters import moment_text


async def plan_rollback(call: Call, request: PlanRollback) -> FleetPlan:
    """What `rollback` would do, with what each backup would lose."""
    choose = await rollback_chooser(call, request)
    engines = call.ready.engines.__getitem__
    targets, catalogues = call.targets, call.chosen.catalogues
    plan = await rollback_plan(call.ctx, targets, catalogues, engines, choose, request.by)
    return with_unanswered(plan, call.chosen)


async def rollback(call: Call, request: Rollback) -> RunReport:
    """Undo what `request` means on each tenant."""
    choose = await rollback_chooser(call, request)

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        after = choose(target, catalogue)
        engine = call.engine(target)
        return await rollback_tenant(call.ctx, engine, target, catalogue, after, by=request.by)

    def work_of(target: Target) -> Sequence[MigrationRef]:
        return choose(target, call.catalogue(target))(standing(call.ctx.state(target.name)))

    return await call.run(
        work,
        [target for target in call.targets if work_of(target)],
        target_version=request.to or request.migration,
        options={"by": request.by} | ({"run": request.run} if request.run else {}),
        work_of=work_of,
    )


async def restore(call: Call, request: Restore) -> RunReport:
    """Put back a backup of each tenant."""
    before = None if request.at is None else moment_text(request.at)
    kept = {
        target.name: pick_backup(
            await kept_backups(call.ready.store, [target.name]), target.name, request.backup, before
        )
        for target in call.targets
    }

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        target = msgspec.structs.replace(target, for_restore=True)
        engine = call.engine(target)
        return await restore_tenant(call.ctx, engine, target, catalogue, kept[target.name])

    return await call.run(work)


def pick_backup(
    backups: list[KeptBackup], tenant: str, wanted: int | str | None, before: str | None
) -> KeptBackup:
    """The newest backup, the one with this event seq or path, or the newest from before a time.

    Raises UnknownTenantError where there is none.
    """
    fitting = [
        kept
        for kept in backups
        if (wanted is None or wanted in (kept.seq, kept.backup.path))
        and (before is None or kept.at < before)
    ]
    if not fitting:
        raise UnknownTenantError(
            f"tenant {tenant} has no such backup" if backups else f"tenant {tenant} has no backup",
            hint=f"`ledger backups --tenant {tenant}` lists what there is.",
        )
    return fitting[-1]
