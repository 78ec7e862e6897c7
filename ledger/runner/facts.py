"""What an engine did, as events: a worker makes the same as the runner."""

from __future__ import annotations

import time

from ledger import events as ev
from ledger.engines.base import Backup
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
        already=result.already,
        made=result.made,
        rows_found=result.rows_found,
    )


def backup_created(
    backup: Backup, applied: tuple[ev.MigrationRef, ...], *, duration_us: int = 0
) -> ev.BackupCreated:
    """The event of a backup of a tenant on which these migrations are applied."""
    return ev.BackupCreated(
        path=str(backup.path),
        bytes=backup.bytes,
        sha256=backup.sha256,
        format=backup.format,
        covers=backup.covers,
        fingerprint=backup.fingerprint,
        applied=applied,
        duration_us=duration_us,
        left_out=backup.left_out,
        broken=backup.broken,
    )


def elapsed_us(began_ns: int) -> int:
    """Microseconds since `time.perf_counter_ns` was `began_ns`."""
    return (time.perf_counter_ns() - began_ns) // 1000


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
