"""One migration on one tenant: what is to be done, what the tenant remembers of it, and what came of it."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from ledger.dialects.steps import Check, Section, Step
from ledger.engines.measured import Measured, Plan
from ledger.events import (
    AheadStep,
    Change,
    CheckResult,
    Direction,
    Mark,
    MigrationRef,
    ObjectEffect,
    Part,
)
from ledger.schema import Schema
from ledger.scripts.model import PythonModule
from ledger.scripts.touching import Touched

ABSENT = "absent"
"""The fingerprint where none of the objects exists."""

MORE_TIME = (
    "raise migration_timeout_seconds in its version.json, or statement_seconds in [timeouts]"
)
"""What to do about a migration whose statements took too long."""


def mend(direction: Direction, migration: str, *, otherwise: str) -> str:
    """What to do about a step that was refused: a down step runs by the text that is kept, whatever the file says."""
    if direction == "up":
        return otherwise
    return (
        "Down steps run as they were when the migration was applied: mend by hand what this one needs, and run the"
        f" command again; or type `ledger rollback {migration} --tenant NAME --by backup`"
    )


class MarkerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the tenant itself remembers of a migration.

    `state` is `applied`, or `running` while only `step` of its steps have landed
    (non-transactional engines). `steps` and `checks` are results as they were, so
    that events lost in a crash can be written again; `measured` is from before the first step. All
    three go once the ledger has those events (ledger.engines.entries.settled).
    `touches` is what a Python migration's statements made, found and changed, where an engine keeps it.
    """

    ref: MigrationRef
    state: Literal["running", "applied"]
    direction: Literal["up", "down"]
    step: int
    epoch: int
    steps: tuple[StepResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    measured: Measured | None = None
    touches: Touched = Touched()


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The marker table's content: the fence and one entry per migration. `ledger` is the ledger's id.

    A tenant without the table has epoch 0 and no entries. `unfinished` is the command that was
    interrupted in the middle of replacing or dropping the tenant's content. `longer` are applied
    entries of which more is stored than a settled one needs, without that.
    """

    epoch: int = 0
    ledger: str = ""
    entries: tuple[MarkerEntry, ...] = ()
    longer: tuple[MarkerEntry, ...] = ()
    unfinished: Literal["", "restore", "reset"] = ""


class StepResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step's outcome as the engine saw it; `skipped` holds the reason if its guard held.

    `of` is how many steps there are in all, where a sync section adds to the others. `existed`, `effects`,
    `already`, `made` and `rows_found` are those of StepApplied, `up_step` is that of StepSkipped.
    """

    number: int
    name: str
    statement: str
    duration_us: int = 0
    rows: int | None = None
    skipped: str = ""
    recovered: bool = False
    before: str = ""
    after: str = ""
    warnings: tuple[str, ...] = ()
    of: int = 0
    existed: bool | None = None
    effects: tuple[ObjectEffect, ...] | None = None
    already: tuple[Part, ...] = ()
    made: tuple[Part, ...] = ()
    rows_found: int | None = None
    up_step: int | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A step about to run whose effect cannot share a transaction with the marker.

    `ahead` are the steps after it that this announces too. `bytes_before` is the tenant's size before
    the migration's first step, where its marker does not say so yet. `reached`: it is about the file's
    own transaction, in which all from `step` on is to land; this step of it is about to run, and
    `statement` is its.
    """

    step: int
    statement: str
    before: str
    objects: tuple[str, ...]
    connection_id: int
    ahead: tuple[AheadStep, ...] = ()
    bytes_before: int | None = None
    reached: int = 0

    def singly(self) -> tuple[Intent, ...]:
        """The same as an intent for each step."""
        first = msgspec.structs.replace(self, ahead=())
        others = [
            msgspec.structs.replace(
                first,
                step=ahead.step,
                statement=ahead.statement,
                before=ABSENT,
                objects=ahead.objects,
            )
            for ahead in self.ahead
        ]
        return (first, *others)


class Journal(Protocol):
    """How an engine reports to the runner what happens, while it happens."""

    async def intend(self, intent: Intent) -> None:
        """Returns once the intent is durable in the ledger. Raises FencedError if the claim is lost."""
        ...

    def require_lease(self) -> None:
        """Before a step that an earlier intent announced. Raises FencedError if the lease has run out."""
        ...

    def landed(self, result: StepResult) -> None:
        """A step that is durable in the tenant; it is recorded with the next durable write."""
        ...


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One migration to run on one tenant, in one direction, under one claim.

    `section` and `checks` are bound (no placeholders left). `expected` are the
    `set/version` ids that the ledger calls applied, this one apart: if the
    marker's applied entries (this one apart) differ, nothing is written. `intent` is the last
    recorded intent without an outcome, from before a crash; `known_after` are
    fingerprints that the same step, from the same `before`, left on other
    tenants. `recorded` are the numbers of steps whose outcome the ledger already
    has from an earlier attempt (None: not known): they are not landed again.
    `ledger` is the ledger's id. `resolved` is a person's word on `resolved_step`, which was
    in doubt.
    `sync` is the bound sync section: once `section` has run, what the tenant still lacks of it
    is computed and run as further steps, numbered after the section's. All the statements
    together may take `timeout_seconds` (None: no limit). `plans` are query plans as they are now, by the
    SHA-256 of the query's text, for `Done.plans`.
    """

    ref: MigrationRef
    direction: Literal["up", "down"]
    section: Section
    checks: tuple[Check, ...]
    epoch: int
    ledger: str
    expected: frozenset[str] = frozenset()
    python: PythonModule | None = None
    intent: Intent | None = None
    known_after: frozenset[str] = frozenset()
    recorded: frozenset[int] | None = None
    resolved: Literal["applied", "not_applied"] | None = None
    resolved_step: int = 0
    timeout_seconds: float | None = None
    sync: tuple[Step, ...] = ()
    plans: tuple[tuple[str, Plan], ...] | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A migration's end: its checks, and the tenant's mark afterwards.

    `schema` is given when the fingerprint was not one of the `known` that the
    caller passed, so that the ledger can keep its content once. `bytes_before` is
    the tenant's size before the first step, and `plans` are those from before it: of the attempt that
    ran the first step, None where that did not measure it. `drift` is in
    what the tenant is not as `Work.sync` says, now that all its statements ran.
    """

    checks: tuple[CheckResult, ...]
    mark: Mark
    schema: Schema | None = None
    bytes_before: int | None = None
    drift: tuple[Change, ...] = ()
    plans: tuple[tuple[str, Plan], ...] | None = None
