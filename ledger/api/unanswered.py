"""A source that did not answer, and what it found that cannot be a tenant, in the words of each report.

Invariant: what could not be asked for its tenants is named wherever tenants are
counted, so that a fleet nobody could look at is never called current, valid or empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.api.discovery import Lost
from ledger.fleet.planning import FleetPlan, TenantPlan
from ledger.fleet.validation import ValidationReport
from ledger.runner.validate import Finding


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
