"""What became of one tenant in one run, as a value."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.errors import (
    LedgerError,
    for_tenant,
)

Result = Literal[
    "migrated",
    "rolled_back",
    "restored",
    "baselined",
    "imported",
    "maintained",
    "reset",
    "pruned",
    "unlocked",
    "resolved",
    "current",
    "failed",
    "unreachable",
    "in_doubt",
    "refused",
    "not_run",
]

GOOD: frozenset[str] = frozenset(
    (
        "migrated",
        "rolled_back",
        "restored",
        "baselined",
        "imported",
        "maintained",
        "reset",
        "pruned",
        "unlocked",
        "resolved",
        "current",
    )
)


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`migrations` are the `set/version` ids that were applied or undone; `duration_us` is the time of
    the work on the tenant.

    `error` is a stable word (`step_failed`, `unreachable` …), `message` and `hint`
    are for people. `backup` is the path of the backup taken.
    """

    tenant: str
    result: Result
    migrations: tuple[str, ...] = ()
    steps: int = 0
    skipped: int = 0
    version: str | None = None
    duration_us: int = 0
    backup: str | None = None
    error: str | None = None
    message: str = ""
    hint: str = ""
    migration: str | None = None
    step: int | None = None
    file: str | None = None
    line: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the tenant is where the run wanted it."""
        return self.result in GOOD


def failure(
    tenant: str, error: LedgerError, *, done: tuple[str, ...] = (), duration_us: int = 0
) -> Outcome:
    """The outcome of a tenant that met `error`, with what had been `done` before."""
    code = getattr(error, "code", "refused")
    result: Result = (
        "unreachable" if code == "unreachable" else "in_doubt" if code == "in_doubt" else "failed"
    )
    return Outcome(
        tenant=tenant,
        result="refused" if code == "refused" else result,
        migrations=done,
        duration_us=duration_us,
        error=code,
        message=error.message,
        hint=for_tenant(error.hint, tenant),
        migration=error.migration,
        step=getattr(error, "step", None),
        file=error.file,
        line=error.line,
    )
