"""Which up steps have run on one tenant, by its events and its marker: also of a migration that a
killed run left in its middle.

Invariant: a step counts as landed only where an event, the marker or an intent proves it;
one that may have run without a trace is kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger import events as ev
from ledger.dialects import dialect_of
from ledger.dialects.steps import Step
from ledger.engines.work import ABSENT, Intent, Marker, MarkerEntry
from ledger.events import MigrationRef, ObjectEffect
from ledger.projections import TenantState
from ledger.runner.facts import as_intent, step_event
from ledger.scripts.created import Ownership, claim_manifest, fold_section
from ledger.scripts.model import Migration
from ledger.scripts.undoing import FOUND, SKIPPED, NotMade
from ledger.stores.base import Filter
from ledger.stores.store import Store

TYPES: Final = (
    "started",
    "step_applied",
    "step_skipped",
    "completed",
    "failed",
    "rolled_back",
    "restored",
    "baselined",
    "imported",
    "reset",
    "drift_detected",
)
COMPLETE: Final = ("step_failed", "check_failed")
"""Failures before which the engine has written into the marker how far it came."""


class Ran(msgspec.Struct, kw_only=True):
    """What is known of one migration's up steps: numbers, and hashes of what ran.

    `effects` are those of a Python migration's steps, by number; None where they are not known.
    `here` is false for one that was only counted as applied (baseline, import).
    `begun` is set while a run began it and no event says how far it came. `rows` says of INSERTs how many rows they
    found, and changed; `made` by a statement's hash what it added that a section sync lacked.
    """

    skipped: set[int] = msgspec.field(default_factory=set)
    existed: set[int] = msgspec.field(default_factory=set)
    statements: set[str] = msgspec.field(default_factory=set)
    effects: dict[int, tuple[ObjectEffect, ...] | None] = msgspec.field(default_factory=dict)
    here: bool = False
    begun: MigrationRef | None = None
    already: dict[int, frozenset[ev.Part]] = msgspec.field(default_factory=dict)
    rows: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    made: dict[str, tuple[ev.Part, ...]] = msgspec.field(default_factory=dict)

    def take_in(self, event: ev.StepApplied | ev.StepSkipped) -> None:
        """The last word on a step."""
        self.skipped.discard(event.step)
        self.existed.discard(event.step)
        self.already.pop(event.step, None)
        self.rows.pop(event.step, None)
        if isinstance(event, ev.StepSkipped):
            self.skipped.add(event.step)
            return
        self.statements.add(event.statement)
        self.effects[event.step] = event.effects
        if event.found_existing:
            self.existed.add(event.step)
        if event.already:
            self.already[event.step] = frozenset(event.already)
        if event.rows_found:
            self.rows[event.step] = event.rows_found, event.rows or 0
        if event.made:
            self.made[event.statement] = event.made

    @property
    def not_made(self) -> dict[int, NotMade]:
        """The up steps that made nothing, or not all, and why."""
        found = dict.fromkeys(self.existed, FOUND)
        found |= {step: NotMade("already", parts) for step, parts in self.already.items()}
        found |= {
            step: NotMade("rows", rows=there, partly=bool(changed))
            for step, (there, changed) in self.rows.items()
        }
        return found | dict.fromkeys(self.skipped, SKIPPED)


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """How far a migration came that the ledger does not call applied.

    `landed` are numbers of its up steps, and so is what was announced on nothing: if its object
    is there now, the step made it. `made` are the hashes of those statements. `perhaps` are the
    steps after them that may have run, in their order.
    """

    landed: frozenset[int] = frozenset()
    made: frozenset[str] = frozenset()
    perhaps: tuple[Step, ...] = ()


async def what_ran(store: Store, tenant: str) -> dict[tuple[str, str], Ran]:
    """What the tenant's events say, by set and version."""
    found: dict[tuple[str, str], Ran] = {}

    def of(ref: MigrationRef) -> Ran:
        return found.setdefault(ref.key, Ran())

    async for rows in store.read(Filter(stream=f"tenant/{tenant}", types=TYPES)):
        for row in rows:
            event = row.data
            if isinstance(event, ev.StepApplied | ev.StepSkipped):
                if event.direction == "up":
                    found.setdefault((event.set, event.version), Ran(here=True)).take_in(event)
            elif isinstance(event, ev.Started):
                if event.migration is not None and event.direction == "up":
                    of(event.migration).begun = event.migration
            elif isinstance(event, ev.Completed):
                of(event.migration).here = True
                of(event.migration).begun = None
            elif isinstance(event, ev.RolledBack):
                found.pop(event.migration.key, None)
            elif isinstance(event, ev.Failed):
                one = found.get((event.set or "", event.version or ""))
                if one is not None and event.error in COMPLETE:
                    one.begun = None
            elif not isinstance(event, ev.DriftDetected) or event.kind == "regressed":
                for one in found.values():
                    one.begun = None
    return found


def not_at_their_end(
    state: TenantState, marker: Marker, ran: dict[tuple[str, str], Ran]
) -> list[tuple[MigrationRef, MarkerEntry | None]]:
    """Migrations that the ledger does not call applied and of which steps may be in the tenant,
    each with its marker entry."""
    applied = {ref.key for ref in state.applied}
    entries = {entry.ref.key: entry for entry in marker.entries if entry.direction == "up"}
    found: list[tuple[MigrationRef, MarkerEntry | None]] = [
        (entry.ref, entry) for key, entry in entries.items() if key not in applied
    ]
    found += [
        (one.begun, None)
        for key, one in ran.items()
        if one.begun is not None and key not in applied and key not in entries
    ]
    return found


def how_far(
    migration: Migration, entry: MarkerEntry | None, state: TenantState, known: Ran
) -> Unfinished:
    """What landed of a bound migration that the ledger does not call applied; `known` learns from
    the marker what no event says."""
    steps = migration.up.steps
    for result in entry.steps if entry is not None else ():
        known.take_in(step_event(migration.ref, "up", result, of=len(steps)))
    if entry is not None and entry.state == "applied":
        return Unfinished(landed=frozenset(step.number for step in steps))
    last = entry.step if entry is not None else 0
    announced = _announced(migration.ref, state, after=last)
    if not announced:
        perhaps = _unannounced(migration, last, known) if known.begun is not None else ()
        return Unfinished(landed=frozenset(range(1, last + 1)), perhaps=perhaps)
    landed = set(range(1, max(announced[0].step - 1, last) + 1))
    made: set[str] = set()
    doubtful: list[Step] = []
    for one in announced:
        if one.reached:
            doubtful += steps[max(one.step - 1, last) : one.reached]
            continue
        step = _step_of(migration, one)
        if step is None:
            continue
        if one.before != ABSENT or one.statement != step.sha256:
            doubtful.append(step)
        elif one.step <= len(steps):
            landed.add(one.step)
        else:
            made.add(one.statement)
    return Unfinished(landed=frozenset(landed), made=frozenset(made), perhaps=tuple(doubtful))


def _announced(ref: MigrationRef, state: TenantState, *, after: int) -> list[Intent]:
    """The steps that the open intent announced and that the marker does not call landed."""
    was = state.intent
    if was is None or (was.set, was.version, was.direction) != (ref.set, ref.version, "up"):
        return []
    return [one for one in as_intent(was).singly() if max(one.step, one.reached) > after]


def _step_of(migration: Migration, intent: Intent) -> Step | None:
    """The step; one of a section sync is known by its statement. None for one that was computed from it."""
    steps = migration.up.steps
    if intent.step <= len(steps):
        return steps[intent.step - 1]
    return next((one for one in migration.sync if one.sha256 == intent.statement), None)


def _unannounced(migration: Migration, last: int, known: Ran) -> tuple[Step, ...]:
    """The steps after `last` that a run may have come to and that leave no trace before the next that does.

    One with a guard may have been left out.
    """
    found: list[Step] = []
    for step in migration.up.steps[last:]:
        if _leaves_no_trace(step, migration):
            found.append(step)
        elif step.skip_if is None:
            return tuple(found)
    synced = (one for one in migration.sync if one.sha256 not in known.statements)
    return (*found, *(one for one in synced if _leaves_no_trace(one, migration)))


def _leaves_no_trace(step: Step, migration: Migration) -> bool:
    kind = dialect_of(migration.dialect).classify(step.readable)
    asks = kind.kind in ("session", "query") and (kind.settleable or kind.temporary)
    return step.redo_safe or kind.redo_safe or asks


def fold_ran(
    ownership: Ownership, migration: Migration, ran: Ran, variables: Mapping[str, str]
) -> bool:
    """Take in what a bound migration that is applied has made. False where that is not known of all of it.

    What ran here as Python is known by what was recorded of it, whatever version.json says: a table
    that stands there may be one that it has found.
    """
    fold_section(ownership, migration.up, skipped=ran.skipped, existed=ran.existed)
    fold_sync(ownership, migration, ran)
    python = migration.path.endswith(".py")
    if python and ran.here:
        return fold_python(ownership, ran)
    claim_manifest(ownership, migration, variables)
    return not python or bool(migration.manifest.tables_created)


def fold_python(ownership: Ownership, ran: Ran) -> bool:
    """Take in what a Python migration's steps are known to have done. False if that is not all."""
    for _, effects in sorted(ran.effects.items()):
        for effect in effects or ():
            ownership.take(effect)
    return None not in ran.effects.values()


def fold_sync(
    ownership: Ownership, migration: Migration, ran: Ran, *, but: Sequence[Step] = ()
) -> None:
    """Of a section sync only the statements ran whose object was missing; `but` come later."""
    for step in (one for one in migration.sync if one not in but):
        ownership.step(step.readable, existed=ran.here and step.sha256 not in ran.statements)
