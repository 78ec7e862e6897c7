"""What an engine did, as events. Pure, so that a worker makes the same as the runner."""

from __future__ import annotations

from ledger import events as ev
from ledger.engines.work import Done, Intent, StepResult
from ledger.projections import OpenIntent


def step_event(
    ref: ev.MigrationRef, direction: ev.Direction, result: StepResult, *, of: int
) -> ev.StepApplied | ev.StepSkipped:
    """The event of one step that is durable in the tenant, or that its guard left out."""
    if result.skipped:
        return ev.StepSkipped(
            set=ref.set,
            version=ref.version,
            direction=direction,
            step=result.number,
            of=of,
            name=result.name,
            statement=result.statement,
            reason=result.skipped,
            up_step=result.up_step,
        )
    return ev.StepApplied(
        set=ref.set,
        version=ref.version,
        direction=direction,
        step=result.number,
        of=of,
        name=result.name,
        statement=result.statement,
        duration_us=result.duration_us,
        rows=result.rows,
        recovered=result.recovered,
        before=result.before,
        after=result.after,
        warnings=result.warnings,
        existed=result.existed,
        effects=result.effects,
    )


def as_intent(was: OpenIntent) -> Intent:
    """The intent that stands open, as its engine gave it."""
    return Intent(
        step=was.step,
        statement=was.statement,
        before=was.before,
        objects=was.objects,
        connection_id=was.connection_id,
        ahead=was.ahead,
        bytes_before=was.bytes_before,
        reached=was.reached,
    )


def validated(ref: ev.MigrationRef, done: Done) -> ev.Validated:
    """All checks held: a migration whose checks do not never gets so far."""
    return ev.Validated(
        set=ref.set,
        version=ref.version,
        passed=True,
        checks=done.checks,
        fingerprint=done.mark.fingerprint,
    )


def completed(
    command: ev.Command, ref: ev.MigrationRef, done: Done, *, duration_us: int
) -> ev.Completed:
    """The end event of a migration that was applied."""
    return ev.Completed(
        command=command,
        migration=ref,
        duration_us=duration_us,
        mark=done.mark,
        bytes_before=done.bytes_before,
    )
