"""`validate` over many tenants: concurrent like migrate, drift gathered into clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from ledger.drift import Cluster, cluster
from ledger.engines.base import Engine, Session, Target
from ledger.fleet.fanout import each_target
from ledger.fleet.planning import edited_files, gone_files
from ledger.fleet.progress import Progress
from ledger.folder.schema import WantedSchema
from ledger.plan import Catalogue
from ledger.runner.context import RunContext
from ledger.runner.validate import Finding, validate_tenant
from ledger.schema import Schema


class ValidationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `drift` groups the tenants whose schemas differ in the same way, largest first.

    `against` names the file that they were compared with; empty for what the ledger recorded.
    `warnings` say what a person may want to know, and make nothing invalid.
    """

    findings: tuple[Finding, ...]
    drift: tuple[Cluster, ...] = ()
    against: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def differences(self) -> dict[str, dict[str, int]]:
        """How many objects of each kind are added, missing or changed, over all tenants."""
        counts: dict[str, dict[str, int]] = {}
        for finding in self.findings:
            for change in finding.changes:
                of_kind = counts.setdefault(change.kind, {})
                of_kind[change.how] = of_kind.get(change.how, 0) + 1
        return counts

    @property
    def compliant(self) -> int:
        """How many tenants could be looked at and have the schema that they are to have."""
        return sum(finding.error is None and not finding.changes for finding in self.findings)

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
    against: WantedSchema | None = None,
    accept: bool = False,
) -> ValidationReport:
    """Validate every target, at most `parallel` at once, and at most its limit on a server.

    `accept`: what differs from what it should be becomes what it should be.
    """
    wanted = None if against is None else partial(_wanted, against)
    ordered = await each_target(
        targets,
        lambda target: validate_tenant(
            ctx,
            engine_of(target.engine),
            target,
            catalogues[target.name],
            wanted=wanted,
            accept=accept,
        ),
        command="validate",
        parallel=parallel,
        progress=progress,
        outcome=lambda finding: (
            "valid" if finding.valid else finding.error or "invalid",
            finding.message,
        ),
    )
    drifted = [(finding.tenant, finding.changes) for finding in ordered if finding.changes]
    return ValidationReport(
        findings=tuple(ordered),
        drift=cluster(drifted),
        against=against.file if against is not None else "",
        warnings=(
            *edited_files(targets, catalogues, ctx.fleet),
            *gone_files(targets, catalogues, ctx.fleet),
        ),
    )


async def _wanted(against: WantedSchema, target: Target, session: Session) -> Schema:
    """What the file says for this tenant: the snapshot, or what its SQL makes in a scratch database."""
    if against.schema is not None:
        return against.schema
    return await session.scratch_schema(against.steps(target.engine, target.variables))
