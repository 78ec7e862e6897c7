"""What a source found that cannot be a tenant, one that did not answer, and tenants of another ledger,
in the words of each report.

Invariant: what could not be asked for its tenants is named wherever tenants are
counted, so that a fleet nobody could look at is never called current, valid or empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.api.discovery import Lost
from ledger.api.strangers import Stranger
from ledger.fleet.planning import FleetPlan, TenantPlan
from ledger.fleet.validation import ValidationReport
from ledger.runner.validate import Finding


def with_strangers_planned(plan: FleetPlan, strangers: Sequence[Stranger]) -> FleetPlan:
    """The plan, in which tenants of another ledger are refused and not new."""
    by_name = {one.tenant: one for one in strangers}

    def refused(row: TenantPlan) -> TenantPlan:
        one = by_name.get(row.tenant)
        if one is None:
            return row
        return msgspec.structs.replace(
            row,
            migrations=(),
            problem=one.error.message,
            hint=one.error.hint,
            owner=one.owner,
        )

    rows = tuple(refused(row) for row in plan.tenants)
    return msgspec.structs.replace(plan, tenants=rows) if strangers else plan


def with_strangers_found(
    report: ValidationReport, strangers: Sequence[Stranger]
) -> ValidationReport:
    """The report, with each tenant of another ledger as one that could not be looked at."""
    rows = [
        Finding(
            tenant=one.tenant,
            valid=False,
            error=one.error.code,
            message=one.error.message,
            hint=one.error.hint,
        )
        for one in strangers
    ]
    return msgspec.structs.replace(report, findings=(*rows, *report.findings)) if rows else report


def with_lost_planned(plan: FleetPlan, lost: Sequence[Lost]) -> FleetPlan:
    """The plan, with each source that did not answer as one that is refused."""
    rows = [
        TenantPlan(
            tenant=one.source,
            engine=one.engine,
            version=None,
            problem=str(one.error)
            if one.aside
            else f"it did not answer, and may have tenants: {one.error}",
            hint=one.error.hint,
        )
        for one in lost
    ]
    return msgspec.structs.replace(plan, tenants=(*plan.tenants, *rows)) if rows else plan


def with_lost_found(report: ValidationReport, lost: Sequence[Lost]) -> ValidationReport:
    """The report, with each source that did not answer as one that could not be looked at."""
    rows = [
        Finding(
            tenant=one.source,
            valid=False,
            error=one.error.code,
            message=one.error.message,
            hint=one.error.hint,
        )
        for one in lost
    ]
    return msgspec.structs.replace(report, findings=(*report.findings, *rows)) if rows else report
