"""What maintenance found and did."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.engines.maintain import Orphans
from ledger.errors import LedgerError, for_tenant
from ledger.requests import Task


class TenantMaintenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What maintenance found, and did, on one tenant.

    `rows` were deleted, mended or moved; `found` are the orphans there were. `old` are rows
    that may be archived, `held` old ones that others refer to, `unreadable` ones without a
    time. `file` and `sha256` are the archive's. `error` is a stable word.
    """

    tenant: str
    task: Task
    result: Literal["current", "found", "maintained", "failed"]
    rows: int = 0
    found: tuple[Orphans, ...] = ()
    old: int = 0
    held: int = 0
    unreadable: int = 0
    file: str = ""
    sha256: str = ""
    waiting: tuple[str, ...] = ()
    bytes_before: int | None = None
    bytes_after: int | None = None
    notes: tuple[str, ...] = ()
    duration_us: int = 0
    error: str | None = None
    message: str = ""
    hint: str = ""


def failed(tenant: str, task: Task, error: LedgerError) -> TenantMaintenance:
    """The value of a tenant that met an error."""
    return TenantMaintenance(
        tenant=tenant,
        task=task,
        result="failed",
        error=getattr(error, "code", "failed"),
        message=error.message,
        hint=for_tenant(error.hint, tenant),
    )


class MaintainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What maintenance found and did. `run` is empty if nothing was changed."""

    task: Task
    applied: bool
    tenants: tuple[TenantMaintenance, ...]
    run: str = ""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """3 if a tenant failed, 4 if orphans are left, else 0.

        Left is all that a look found, and what could not be mended.
        """
        if self.interrupted or any(tenant.result == "failed" for tenant in self.tenants):
            return 3
        left = any(tenant.notes if self.applied else tenant.found for tenant in self.tenants)
        return 4 if self.task == "orphans" and left else 0
