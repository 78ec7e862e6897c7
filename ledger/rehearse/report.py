"""What a rehearsal reports, of a migration, a tenant and the fleet."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.errors import LedgerError, for_tenant
from ledger.events import Change

Down = Literal["works", "differs", "fails", "none", "not_run"]


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """One migration's rehearsal. `down` says whether its down steps led back to the schema before it.

    `none`: it has none; `not_run`: a newer one stood in the way. `differences` are what
    is not as it was.
    """

    migration: str
    up_us: int = 0
    steps: int = 0
    checks: int = 0
    bytes: int | None = None
    down: Down = "not_run"
    down_us: int = 0
    differences: tuple[Change, ...] = ()


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tenant's rehearsal.

    `source` is `backup` (taken `source_at`) or `live`. `result`: `passed`; `current`
    (nothing was pending); `failed`, where `stage` says at what (`migrate`, `rollback`,
    `reapply`); `error`, if it could not be rehearsed. Sizes are the database's.
    """

    tenant: str
    result: Literal["passed", "current", "failed", "error"]
    source: Literal["backup", "live", ""] = ""
    source_path: str = ""
    source_at: str = ""
    migrations: tuple[Rehearsed, ...] = ()
    stage: str = ""
    failed_checks: tuple[str, ...] = ()
    bytes_before: int | None = None
    bytes_after: int | None = None
    restore_us: int = 0
    migrate_us: int = 0
    rollback_us: int = 0
    reapply_us: int = 0
    differences: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    message: str = ""
    hint: str = ""
    migration: str | None = None
    step: int | None = None
    file: str | None = None
    line: int | None = None

    @property
    def down(self) -> Down:
        """Over all its migrations: the worst word there is."""
        words = {migration.down for migration in self.migrations}
        order: tuple[Down, ...] = ("fails", "differs", "not_run", "none", "works")
        return next((word for word in order if word in words), "none")


def not_rehearsed(tenant: str, error: LedgerError) -> Rehearsal:
    """The value of a tenant that could not be rehearsed."""
    return Rehearsal(
        tenant=tenant,
        result="error",
        error=getattr(error, "code", "failed"),
        message=error.message,
        hint=for_tenant(error.hint, tenant),
    )


class RehearsalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the rehearsal of every chosen tenant came to. `left_out` is how many a sample passed over,
    `notes` name those that follow no set with the version asked for."""

    tenants: tuple[Rehearsal, ...]
    left_out: int = 0
    notes: tuple[str, ...] = ()
    duration_us: int = 0

    @property
    def summary(self) -> dict[str, int]:
        """How many tenants had which result."""
        counts: dict[str, int] = {}
        for tenant in self.tenants:
            counts[tenant.result] = counts.get(tenant.result, 0) + 1
        return counts

    @property
    def exit_code(self) -> int:
        """4 if something failed in the rehearsal, 3 if a tenant could not be rehearsed, else 0."""
        if "failed" in self.summary:
            return 4
        return 3 if "error" in self.summary else 0
