"""`maintain` over many tenants: a look at what there is to do, or a run that does it."""

from __future__ import annotations

from ledger.calls.call import Call
from ledger.engines.base import Target
from ledger.fleet.fanout import each_target
from ledger.maintain.cutoff import Cutoff, cutoff_of
from ledger.maintain.report import MaintainReport, TenantMaintenance, failed
from ledger.maintain.tenant import look_at_tenant, maintain_tenant
from ledger.plan import Catalogue
from ledger.requests import Maintain, Task
from ledger.runner.backups import prepare_folder
from ledger.runner.outcome import Outcome, Result


async def maintain(call: Call, request: Maintain) -> MaintainReport:
    """Look, or do; every chosen tenant, and every source that could not be asked, is in the report."""
    ctx, task = call.ctx, request.task
    cutoff = cutoff_of(request, await call.ready.store.now())
    lost = [failed(source.source, task, source.error) for source in call.chosen.found.lost]
    if not request.apply and task != "optimize":
        looks = await each_target(
            call.targets,
            lambda target: look_at_tenant(ctx, call.engine(target), target, cutoff),
            command="maintain",
            parallel=call.bounds.parallel,
            progress=call.progress,
            outcome=lambda look: ("failed" if look.error else "current", look.message),
        )
        return MaintainReport(task=task, applied=False, tenants=(*looks, *lost))
    done: dict[str, TenantMaintenance] = {}
    if cutoff is not None:
        prepare_folder(ctx)

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        did = await maintain_tenant(ctx, call.engine(target), target, request, cutoff)
        done[target.name] = did
        return _outcome(did)

    report = await call.run(work, options=_options(task, cutoff))
    names = {tenant.tenant for tenant in lost}
    tenants = [
        done.get(outcome.tenant) or _not_reached(outcome, task)
        for outcome in report.outcomes
        if outcome.tenant not in names
    ]
    return MaintainReport(
        task=task,
        applied=True,
        tenants=(*tenants, *lost),
        run=report.run,
        interrupted=report.interrupted,
    )


def _options(task: Task, cutoff: Cutoff | None) -> dict[str, str]:
    """What the run's event says of it."""
    if cutoff is None:
        return {"task": task}
    before = cutoff.before.isoformat().replace("+00:00", "Z")
    return {"task": task, "table": cutoff.table, "column": cutoff.column, "before": before}


def _outcome(did: TenantMaintenance) -> Outcome:
    result: Result = "current" if did.result == "found" else did.result
    return Outcome(
        tenant=did.tenant,
        result="unreachable" if did.error == "unreachable" else result,
        duration_us=did.duration_us,
        error=did.error,
        message=did.message,
        hint=did.hint,
    )


def _not_reached(outcome: Outcome, task: Task) -> TenantMaintenance:
    """The value of a tenant that the run did not reach."""
    return TenantMaintenance(
        tenant=outcome.tenant,
        task=task,
        result="current" if outcome.ok else "failed",
        error=outcome.error,
        message=outcome.message,
        hint=outcome.hint,
    )
