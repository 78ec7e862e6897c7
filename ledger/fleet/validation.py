"""`validate` over many tenants: concurrent like migrate, drift gathered into clusters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import anyio
import msgspec

from ledger.drift import Cluster, cluster
from ledger.engines.base import Engine, Target
from ledger.fleet.progress import Progress
from ledger.plan import Catalogue
from ledger.runner.context import RunContext
from ledger.runner.validate import Finding, validate_tenant


class ValidationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `drift` groups the tenants whose schemas differ in the same way, largest first."""

    findings: tuple[Finding, ...]
    drift: tuple[Cluster, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether every tenant could be looked at and everything held."""
        return all(finding.valid for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0, 4 if something is invalid, 3 if some tenants could not be looked at."""
        if any(finding.error is None and not finding.valid for finding in self.findings):
            return 4
        return 0 if self.valid else 3


async def validate_fleet(
    ctx: RunContext,
    targets: Sequence[Target],
    catalogues: Mapping[str, Catalogue],
    engine_of: Callable[[str], Engine],
    *,
    parallel: int,
    progress: Progress,
) -> ValidationReport:
    """Validate every target, at most `parallel` at once, and at most its limit on a server."""
    findings: dict[str, Finding] = {}
    limits: dict[str, anyio.CapacityLimiter] = {}
    everywhere = anyio.CapacityLimiter(parallel)
    waiting = list(reversed(targets))
    progress.run_started(len(targets), "validate")

    async def worker() -> None:
        while waiting:
            target = waiting.pop()
            limit = limits.setdefault(
                target.server,
                anyio.CapacityLimiter(target.max_connections if target.server else parallel),
            )
            async with limit, everywhere:
                progress.tenant_started(target.name)
                began = time.perf_counter()
                finding = await validate_tenant(
                    ctx, engine_of(target.engine), target, catalogues[target.name]
                )
                findings[target.name] = finding
                word = "valid" if finding.valid else finding.error or "invalid"
                progress.tenant_finished(
                    target.name, word, finding.message, time.perf_counter() - began
                )

    async with anyio.create_task_group() as group:
        for _ in range(min(parallel, len(targets))):
            group.start_soon(worker)
    ordered = tuple(findings[target.name] for target in targets)
    drifted = [(one.tenant, one.changes) for one in ordered if one.changes]
    return ValidationReport(findings=ordered, drift=cluster(drifted))
