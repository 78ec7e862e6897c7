"""The plan of a run over many tenants, as a value: computed before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger.engines.base import Target
from ledger.errors import ChecksumMismatchError, EmptyMigrationError, LedgerError
from ledger.estimate import Estimate, FleetEstimate
from ledger.plan import (
    Catalogue,
    Decision,
    Options,
    Undo,
    decide,
    unfinished,
    unfinished_problem,
    without_file,
)
from ledger.projections import FleetState

GONE_SHOWN: Final = 5
"""How many migrations, and tenants, a warning names."""


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One statement that a run would execute; `skip_if` is its guard as written.

    With `landed` it has run in an earlier attempt, and is not run again. `up_step` is set for a
    down step that will not run, since that up step made nothing; `skip_if` then says why.
    """

    number: int
    name: str
    sql: str
    skip_if: str = ""
    landed: bool = False
    up_step: int | None = None


class PlannedMigration(msgspec.Struct, frozen=True, kw_only=True):
    """One migration that a run would apply (`up`) or undo (`down`); `how` says by script or from which backup.

    `notes` are about this tenant: what a section sync could not bring about. `undo` says what a
    rollback of it will be able to do, once it is applied.
    """

    id: str
    name: str
    direction: str
    steps: tuple[PlannedStep, ...] = ()
    how: str = "script"
    lost: str = ""
    estimated_seconds: float | None = None
    description: str = ""
    notes: tuple[str, ...] = ()
    undo: Undo | None = None


class TenantPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do to one tenant. `problem` says why it would refuse the tenant.

    `in_part` are the migrations of which only some steps have landed in it.
    `estimates` are of `migrations`, one for each, where they were asked for. `owner` is the id of
    another ledger, to which the tenant belongs.
    """

    tenant: str
    engine: str
    version: str | None
    migrations: tuple[PlannedMigration, ...] = ()
    problem: str = ""
    hint: str = ""
    estimates: tuple[Estimate, ...] = ()
    in_part: tuple[str, ...] = ()
    owner: str = ""


class FleetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do. `warnings` name file and line; nothing was touched to compute it."""

    command: str
    tenants: tuple[TenantPlan, ...]
    warnings: tuple[str, ...] = ()
    estimate: FleetEstimate | None = None

    @property
    def pending(self) -> tuple[TenantPlan, ...]:
        """The tenants for which there is something to do."""
        return tuple(tenant for tenant in self.tenants if tenant.migrations or tenant.problem)


class Decisions:
    """Decides once for all tenants that stand alike: equal applied sets are one object."""

    def __init__(self, fleet: FleetState, options: Options) -> None:
        self._fleet = fleet
        self._options = options
        self._made: dict[tuple[int, int], Decision] = {}

    def of(self, tenant: str, catalogue: Catalogue) -> Decision:
        """What is pending for the tenant, or why nothing may run."""
        applied = self._fleet.tenant(tenant).applied
        key = (id(applied), id(catalogue))
        decision = self._made.get(key)
        if decision is None:
            decision = (
                decide(applied, catalogue, self._options) if self.follows(catalogue) else Decision()
            )
            self._made[key] = decision
        return decision

    def follows(self, catalogue: Catalogue) -> bool:
        """Whether the tenants of this catalogue have the migration that `to` names."""
        return self._options.to is None or catalogue.find(self._options.to) is not None

    def problem(self, tenant: str, catalogue: Catalogue) -> LedgerError | None:
        """Why a run would refuse the tenant: as decided, or for what has landed in it in part."""
        decision = self.of(tenant, catalogue)
        if decision.problem is not None or not self.follows(catalogue):
            return decision.problem
        left = unfinished(self._fleet.tenant(tenant), decision.pending)
        return unfinished_problem(left, catalogue) if left else None


def refuse_wrong_files(
    targets: Sequence[Target], catalogues: Mapping[str, Catalogue], decisions: Decisions
) -> None:
    """Raise where a file is wrong and not a tenant: as `refuse_edited`, or EmptyMigrationError."""
    refuse_edited(targets, catalogues, decisions)
    for target in targets:
        problem = decisions.of(target.name, catalogues[target.name]).problem
        if isinstance(problem, EmptyMigrationError):
            raise problem


def refuse_edited(
    targets: Sequence[Target], catalogues: Mapping[str, Catalogue], decisions: Decisions
) -> None:
    """Raise if a migration was edited after it ran anywhere: the folder is wrong, not a tenant.

    The ChecksumMismatchError names both checksums and the tenants concerned.
    """
    concerned: list[str] = []
    first: ChecksumMismatchError | None = None
    for target in targets:
        problem = decisions.of(target.name, catalogues[target.name]).problem
        if isinstance(problem, ChecksumMismatchError):
            if first is None:
                first = problem
            if problem.migration == first.migration:
                concerned.append(target.name)
    if first is not None:
        shown = ", ".join(concerned[:10]) + (" …" if len(concerned) > 10 else "")
        tenants = "1 tenant" if len(concerned) == 1 else f"{len(concerned):,} tenants"
        raise ChecksumMismatchError(
            f"{first.message} ({tenants} concerned: {shown})",
            migration=first.migration,
            file=first.file,
            hint=first.hint,
        )


def edited_files(
    targets: Sequence[Target], catalogues: Mapping[str, Catalogue], fleet: FleetState
) -> tuple[str, ...]:
    """A warning of a migration that was edited after it ran anywhere, for which `migrate` would refuse to run."""
    try:
        refuse_edited(targets, catalogues, Decisions(fleet, Options()))
    except ChecksumMismatchError as error:
        return (f"{error}. {error.hint}",)
    return ()


def gone_files(
    targets: Sequence[Target], catalogues: Mapping[str, Catalogue], fleet: FleetState
) -> tuple[str, ...]:
    """A warning for each group of applied migrations whose files are gone, with the tenants that have them.

    Looked up once for all tenants that stand alike.
    """
    found: dict[tuple[int, int], tuple[str, ...]] = {}
    tenants: dict[tuple[str, ...], list[str]] = {}
    for target in targets:
        applied, catalogue = fleet.tenant(target.name).applied, catalogues[target.name]
        key = (id(applied), id(catalogue))
        if key not in found:
            found[key] = without_file(applied, catalogue)
        if found[key]:
            tenants.setdefault(found[key], []).append(target.name)
    return tuple(_gone(ids, names) for ids, names in tenants.items())


def drifted_tenants(targets: Sequence[Target], fleet: FleetState) -> tuple[str, ...]:
    """A warning of the tenants that are known not to be as their migrations define, if there are any."""
    names = [target.name for target in targets if fleet.tenant(target.name).drift == "schema"]
    if not names:
        return ()
    shown = ", ".join(names[:GONE_SHOWN]) + (" …" if len(names) > GONE_SHOWN else "")
    count, are = ("1 tenant", "is") if len(names) == 1 else (f"{len(names):,} tenants", "are")
    return (
        f"{count} ({shown}) {are} drifted: not as the applied migrations define. `ledger validate`"
        " shows in what, and `ledger validate --accept --reason …` takes it as it is",
    )


def _gone(ids: Sequence[str], names: Sequence[str]) -> str:
    which = ", ".join(ids[:GONE_SHOWN]) + (" …" if len(ids) > GONE_SHOWN else "")
    what = f"{which} is" if len(ids) == 1 else f"{len(ids):,} migrations ({which}) are"
    shown = ", ".join(names[:GONE_SHOWN]) + (" …" if len(names) > GONE_SHOWN else "")
    where = "1 tenant" if len(names) == 1 else f"{len(names):,} tenants"
    return (
        f"{what} applied on {where} ({shown}), and no file is there any more."
        " Put it back if it was not meant to go; the ledger keeps what ran, and can undo it"
    )


def left_alone(names: Sequence[str], to: str | None) -> tuple[str, ...]:
    """A note about tenants that a `--to` does not concern."""
    if not names:
        return ()
    shown = ", ".join(names[:GONE_SHOWN]) + (" …" if len(names) > GONE_SHOWN else "")
    who = "1 tenant follows" if len(names) == 1 else f"{len(names):,} tenants follow"
    return (
        f"{who} no set that has {to}, and {'is' if len(names) == 1 else 'are'} left alone: {shown}",
    )


def problem_text(problem: LedgerError | None) -> tuple[str, str]:
    """Message and hint of a refusal, or two empty texts."""
    return (str(problem), problem.hint) if problem is not None else ("", "")
