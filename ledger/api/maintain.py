"""`maintain`: a look at what there is to do, or a run that does it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger.calls.call import Call
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.fleet.fanout import each_target
from ledger.plan import Catalogue
from ledger.requests import Maintain, Task
from ledger.runner.backups import prepare_folder
from ledger.runner.maintain import look_at_tenant, maintain_tenant
from ledger.runner.maintenance import Order, TenantMaintenance, failed
from ledger.runner.outcome import Outcome

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE: Final = re.compile(r"(\d+)\s*([smhdw])")


class MaintainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What maintenance found and did. `run` is empty if nothing was changed."""

    task: Task
    applied: bool
    tenants: tuple[TenantMaintenance, ...]
    run: str = ""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """3 if a tenant failed, 4 if a look found orphans, else 0."""
        if self.interrupted or any(one.result == "failed" for one in self.tenants):
            return 3
        if self.task == "orphans" and any(self._left(one) for one in self.tenants):
            return 4
        return 0

    def _left(self, one: TenantMaintenance) -> bool:
        """Orphans that are still there: all that a look found, and those that nothing could mend."""
        return bool(one.notes if self.applied else one.found)


def parse_age(text: str) -> timedelta:
    """`90d`, `12h`, `2w`, `30m`, `10s`. Raises UsageError."""
    match = _AGE.fullmatch(text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(
            f"{text!r} is not an age", hint="Write a number and s, m, h, d or w, such as 90d."
        )
    try:
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    except OverflowError as error:
        raise UsageError(f"{text!r} is longer ago than there are dates") from error


def make_order(request: Maintain, now: datetime) -> Order:
    """The order, checked. Raises UsageError for what does not fit the task."""
    task, batch = request.task, request.batch
    table, column, older_than = request.table, request.column, request.older_than
    named = {"table": table, "column": column, "older_than": older_than}
    if task != "archive":
        given = [f"--{name.replace('_', '-')}" for name, value in named.items() if value]
        if given:
            raise UsageError(f"{given[0]} is for --task archive")
        return Order(task=task, apply=request.apply or task == "optimize", batch=batch)
    if not table or not column or not older_than:
        raise UsageError(
            "an archive needs a table, a column and an age",
            hint="Write --table TABLE --column COLUMN --older-than 90d.",
        )
    try:
        before = now - parse_age(older_than)
    except OverflowError as error:
        raise UsageError(f"{older_than!r} is longer ago than there are dates") from error
    return Order(
        task=task, apply=request.apply, batch=batch, table=table, column=column, before=before
    )


async def maintain(call: Call, request: Maintain) -> MaintainReport:
    """Look, or do; every chosen tenant, and every source that could not be asked, is in the report."""
    ctx = call.ctx
    order = make_order(request, await call.ready.store.now())
    lost = [failed(one.source, order.task, one.error) for one in call.chosen.found.lost]
    if not order.apply:
        looks = await each_target(
            call.targets,
            lambda target: look_at_tenant(ctx, call.engine(target), target, order),
            command="maintain",
            parallel=call.bounds.parallel,
            progress=call.progress,
            outcome=lambda one: ("failed" if one.error else "current", one.message),
        )
        return MaintainReport(task=order.task, applied=False, tenants=(*looks, *lost))
    done: dict[str, TenantMaintenance] = {}
    if order.task == "archive":
        prepare_folder(ctx)

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        one = await maintain_tenant(ctx, call.engine(target), target, order)
        done[target.name] = one
        return _outcome(one)

    report = await call.run(work, options=_options(order))
    names = {one.tenant for one in lost}
    tenants = [
        done.get(one.tenant) or _maintenance(one, order.task)
        for one in report.outcomes
        if one.tenant not in names
    ]
    return MaintainReport(
        task=order.task,
        applied=True,
        tenants=(*tenants, *lost),
        run=report.run,
        interrupted=report.interrupted,
    )


def _options(order: Order) -> dict[str, str]:
    """What the run's event says of it."""
    options: dict[str, str] = {"task": order.task}
    if order.before is not None:
        options |= {
            "table": order.table,
            "column": order.column,
            "before": order.before.isoformat().replace("+00:00", "Z"),
        }
    return options


def _outcome(one: TenantMaintenance) -> Outcome:
    unreachable = one.error == "unreachable"
    return Outcome(
        tenant=one.tenant,
        result="maintained"
        if one.result == "maintained"
        else "unreachable"
        if unreachable
        else "failed"
        if one.result == "failed"
        else "current",
        duration_us=one.duration_us,
        error=one.error,
        message=one.message,
        hint=one.hint,
    )


def _maintenance(one: Outcome, task: Task) -> TenantMaintenance:
    """A tenant that the run did not reach."""
    return TenantMaintenance(
        tenant=one.tenant,
        task=task,
        result="current" if one.ok else "failed",
        error=one.error,
        message=one.message,
        hint=one.hint,
    )
