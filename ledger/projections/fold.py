"""What each event makes of a tenant's state: one function an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ledger import events as ev
from ledger.events import MigrationRef
from ledger.projections.applied import AppliedSets, joined, without
from ledger.projections.tenants import Claim, Failure, OpenIntent, Resolution, TenantState

Fact = tuple[int, int, str, str, str, str | None, ev.AnyEvent]
"""What a fold needs of an event: seq, the stream's version, at, run, actor, tenant and the decoded body.
A plain tuple: a replay has millions of them. Of a `step_applied` the body may be that of another that
shares its step, so that only what says which step it is holds."""


def _ended(state: TenantState) -> None:
    state.claim = None
    state.failure = None
    state.intent = None
    state.resolution = None
    _forget_steps(state)
    state.drift = ""
    state.drift_changes = 0
    state.reference = ""
    state.adopted = False


def _forget_steps(state: TenantState) -> None:
    state.landed = []
    state.landed_in = ""
    state.passed = []
    state.begun = None
    state.begun_steps = 0


def _started(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Started) -> None:
    _, _, at, run, actor, _, _ = row
    state.epoch = event.epoch
    state.engine = event.engine
    state.skipped = state.skipped_detail = ""
    state.set_aside = False
    if event.command != "maintain":
        state.failure = None
    ref = event.migration
    if ref is not None:
        _begin(state, ref, event.direction, event.steps)
    state.claim = Claim(
        run=run,
        actor=actor,
        holder=event.holder,
        epoch=event.epoch,
        at=at,
        lease_seconds=event.lease_seconds,
        command=event.command,
        migration=ref.id if ref else None,
    )


def _begin(state: TenantState, ref: MigrationRef, direction: str, steps: int) -> None:
    """Work on a migration begins, or goes on; one in part that was at hand before is set aside."""
    was = state.begun
    if was is not None and (
        direction == "down" or (was.set, was.version) != (ref.set, ref.version)
    ):
        half = state.half_at_hand()
        if half is not None:
            state.left = {**state.left, half.id: half}
            state.intent = None
        _forget_steps(state)
    if direction == "down":
        return
    state.begun, state.begun_steps = ref, steps
    again = state.left.get(ref.id)
    if again is not None:
        state.left = {key: half for key, half in state.left.items() if half is not again}
        state.landed_in = f"{ref.id} up"
        state.landed = list(again.landed)
        state.passed = list(again.skipped)
        state.intent = again.intent


def _backup_created(
    sets: AppliedSets, state: TenantState, row: Fact, event: ev.BackupCreated
) -> None:
    state.backup_seq = row[0]


def _step_started(sets: AppliedSets, state: TenantState, row: Fact, event: ev.StepStarted) -> None:
    state.intent = OpenIntent(
        set=event.set,
        version=event.version,
        direction=event.direction,
        step=event.step,
        statement=event.statement,
        before=event.before,
        objects=event.objects,
        connection_id=event.connection_id,
        ahead=event.ahead,
        bytes_before=event.bytes_before,
        reached=event.reached,
    )


def _step_done(
    sets: AppliedSets,
    state: TenantState,
    row: Fact,
    event: ev.StepApplied | ev.StepSkipped,
) -> None:
    state.intent = None
    here = f"{event.set}/{event.version} {event.direction}"
    if state.landed_in != here:
        state.landed_in = here
        state.landed = []
        state.passed = []
    state.landed.append(event.step)
    if event.__class__ is ev.StepSkipped:
        state.passed.append(event.step)


def _completed(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Completed) -> None:
    _ended(state)
    _whole(state, event.migration)
    state.mark = event.mark
    state.applied = sets.grow(state.applied, event.migration)


def _whole(state: TenantState, *refs: MigrationRef) -> None:
    """Nothing of these migrations is left in part."""
    if state.left:
        gone = {ref.id for ref in refs}
        state.left = {key: half for key, half in state.left.items() if key not in gone}


def _failed(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Failed) -> None:
    state.claim = None
    if event.command == "maintain":
        return
    if event.error == "step_failed":
        state.intent = None
    _, _, at, run, _, _, _ = row
    state.failure = Failure(
        error=event.error,
        message=event.message,
        run=run,
        at=at,
        set=event.set,
        version=event.version,
        direction=event.direction,
        step=event.step,
        hint=event.hint,
        in_doubt=event.in_doubt,
        evidence=event.evidence,
    )


def _rolled_back(sets: AppliedSets, state: TenantState, row: Fact, event: ev.RolledBack) -> None:
    _ended(state)
    _whole(state, event.migration)
    state.mark = event.mark
    state.applied = sets.intern(without(state.applied, event.migration))


def _restored(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Restored) -> None:
    _ended(state)
    state.left = {}
    state.mark = event.mark
    state.applied = sets.intern(event.applied)


def _added(
    sets: AppliedSets, state: TenantState, row: Fact, event: ev.Baselined | ev.Imported
) -> None:
    _ended(state)
    _whole(state, *event.migrations)
    state.mark = event.mark
    applied = state.applied
    for ref in event.migrations:
        applied = joined(applied, ref)
    state.applied = sets.intern(applied)
    state.adopted = True


def _reset(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Reset) -> None:
    _ended(state)
    state.left = {}
    state.mark = event.mark
    state.applied = sets.intern(event.applied)
    state.adopted = event.mode == "mark_only"


def _maintained(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Maintained) -> None:
    """Versions, what the tenant should be, and what is known of a failed migration stay as they were."""
    state.claim = None
    state.reference = state.expected
    state.mark = event.mark


def _lock_cleared(sets: AppliedSets, state: TenantState, row: Fact, event: ev.LockCleared) -> None:
    state.claim = None
    state.epoch = max(state.epoch, event.epoch)


def _resolved(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Resolved) -> None:
    state.failure = None
    state.resolution = Resolution(
        set=event.set,
        version=event.version,
        direction=event.direction,
        step=event.step,
        how=event.how,
    )


def _skipped(sets: AppliedSets, state: TenantState, row: Fact, event: ev.TenantSkipped) -> None:
    if event.code != "unreachable":
        # Of this run alone: it says nothing about where the tenant stands.
        state.set_aside = True
        return
    state.skipped = event.reason
    state.skipped_detail = event.detail


def _drift(sets: AppliedSets, state: TenantState, row: Fact, event: ev.DriftDetected) -> None:
    if event.wish:
        return
    if not event.whole and not (event.aside and state.drift == "schema"):
        state.drift = "" if event.kind == "cleared" else event.kind
        state.drift_changes = len(event.changes)
    if event.mark.fingerprint:
        state.mark = event.mark
    if event.kind == "schema":
        state.reference = event.expected
    elif event.aside and event.reference:
        state.reference = event.reference
    elif event.mark.fingerprint:
        # A drift that is gone has left the tenant as it should be: its mark is the measure again.
        state.reference = ""
    state.skipped = state.skipped_detail = ""
    if event.failure:
        state.failure = None
    if event.kind == "regressed":
        state.applied = sets.intern(event.applied)
        state.adopted = False
        state.reference = event.reference
        if state.mark is not None and not event.reference:
            state.mark = msgspec.structs.replace(state.mark, fingerprint=None)
    if event.kind == "regressed" or event.whole:
        state.intent = None
        state.left = {}
        _forget_steps(state)


def _accepted(sets: AppliedSets, state: TenantState, row: Fact, event: ev.DriftAccepted) -> None:
    if state.drift == "schema":
        state.drift = ""
        state.drift_changes = 0
    state.mark = event.mark
    state.reference = event.found if event.mark.fingerprint != event.found else ""
    state.adopted = False
    state.skipped = state.skipped_detail = ""


def _validated(sets: AppliedSets, state: TenantState, row: Fact, event: ev.Validated) -> None:
    state.skipped = state.skipped_detail = ""
    state.validated_at = row[2]


_Handler = Callable[[AppliedSets, TenantState, Fact, Any], None]

TENANT_HANDLERS: Final[Mapping[type[Any], _Handler]] = {
    ev.Started: _started,
    ev.BackupCreated: _backup_created,
    ev.StepStarted: _step_started,
    ev.StepApplied: _step_done,
    ev.StepSkipped: _step_done,
    ev.Validated: _validated,
    ev.Completed: _completed,
    ev.Failed: _failed,
    ev.RolledBack: _rolled_back,
    ev.Restored: _restored,
    ev.Baselined: _added,
    ev.Imported: _added,
    ev.LockCleared: _lock_cleared,
    ev.Resolved: _resolved,
    ev.TenantSkipped: _skipped,
    ev.DriftDetected: _drift,
    ev.DriftAccepted: _accepted,
    ev.Reset: _reset,
    ev.Maintained: _maintained,
}
