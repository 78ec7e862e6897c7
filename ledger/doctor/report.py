"""What `doctor` found."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.engines.probes import Level

Area = Literal["host", "ledger", "backups", "tenant"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `tenant` is set in the area `tenant`."""

    area: Area
    check: str
    level: Level
    detail: str = ""
    hint: str = ""
    tenant: str | None = None


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was looked at: the host and the ledger first, then tenant by tenant."""

    findings: tuple[Finding, ...]
    tenants: int

    @property
    def sound(self) -> bool:
        """Whether nothing failed; warnings are no failures."""
        return all(finding.level != "failed" for finding in self.findings)

    @property
    def summary(self) -> dict[str, int]:
        """How many findings of each level."""
        counts: dict[str, int] = {"ok": 0, "warning": 0, "failed": 0}
        for finding in self.findings:
            counts[finding.level] += 1
        return counts

    @property
    def exit_code(self) -> int:
        """0, or 4 if something is wrong."""
        return 0 if self.sound else 4
