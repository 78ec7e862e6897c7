"""Events written to Python's logging, once they are durable, each by the area that it belongs to.

`ledger.fleet`, `ledger.runner`, `ledger.engine` and `ledger.backup` are loggers that an
application may route as it likes; `ledger.store` is the store's own. Invariant: a line
stands for something that the ledger holds, and costs nothing while no logger listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from ledger import events as ev
from ledger.events import Recorded

FLEET: Final = logging.getLogger("ledger.fleet")
RUNNER: Final = logging.getLogger("ledger.runner")
ENGINE: Final = logging.getLogger("ledger.engine")
BACKUP: Final = logging.getLogger("ledger.backup")
# A library writes nowhere by itself: without this, Python would print warnings on stderr.
logging.getLogger("ledger").addHandler(logging.NullHandler())
_ALL: Final = (FLEET, RUNNER, ENGINE, BACKUP)


class _Line(NamedTuple):
    """Where a line goes, how loud, and what it says."""

    logger: logging.Logger
    level: int
    text: str


def log_events(rows: Iterable[Recorded]) -> None:
    """One line an event, for the loggers that are listened to; secrets are in no event."""
    # Python keeps the answers of isEnabledFor, so that this is a few look-ups.
    quiet = not any(logger.isEnabledFor(logging.INFO) for logger in _ALL)
    for row in rows:
        if quiet and row.type not in _LOUD:
            continue
        line = _line(row)
        if line.logger.isEnabledFor(line.level):
            line.logger.log(
                line.level,
                "%s: %s",
                row.tenant or f"run {row.run}",
                line.text,
                extra={"tenant": row.tenant, "run": row.run, "event": row.type, "seq": row.seq},
            )


_LOUD: Final = frozenset(
    {"failed", "explained", "tenant_skipped", "drift_detected", "lock_cleared"}
)
"""What is logged above INFO."""


def _line(row: Recorded) -> _Line:
    event = row.data
    line = _LINES.get(type(event))
    if line is None:
        return _Line(RUNNER, logging.INFO, row.type.replace("_", " "))
    return line(event)


def _started(event: ev.Started) -> _Line:
    if event.migration is None:
        return _Line(RUNNER, logging.INFO, f"Starting {event.command}")
    ref = event.migration
    kind = "migration" if event.direction == "up" else "rollback of migration"
    said = f"Starting {kind} {ref.version} ({ref.set}, {ref.name})"
    return _Line(RUNNER, logging.INFO, said)


def _completed(event: ev.Completed) -> _Line:
    took = f"{event.duration_us / 1000:.0f} ms"
    said = f"Migration {event.migration.version} completed successfully ({took})"
    return _Line(RUNNER, logging.INFO, said)


def _rolled_back(event: ev.RolledBack) -> _Line:
    return _Line(RUNNER, logging.INFO, f"Migration {event.migration.version} rolled back")


def _failed(event: ev.Failed) -> _Line:
    what = f"Migration {event.version}" if event.version else event.command.capitalize()
    at = f" at step {event.step}" if event.step else ""
    return _Line(RUNNER, logging.ERROR, f"{what} failed{at}: {event.message}")


def _step_started(event: ev.StepStarted) -> _Line:
    return _Line(ENGINE, logging.DEBUG, f"{event.version} step {event.step} begins")


def _step_applied(event: ev.StepApplied) -> _Line:
    took = f"{event.duration_us / 1000:.1f} ms"
    said = f"{event.version} step {event.step}/{event.of} {event.name} applied ({took})"
    return _Line(ENGINE, logging.DEBUG, said)


def _step_skipped(event: ev.StepSkipped) -> _Line:
    said = f"{event.version} step {event.step}/{event.of} {event.name} skipped: {event.reason}"
    return _Line(ENGINE, logging.DEBUG, said)


def _validated(event: ev.Validated) -> _Line:
    good = sum(check.passed for check in event.checks)
    level = logging.INFO if event.passed else logging.WARNING
    return _Line(RUNNER, level, f"{good} of {len(event.checks)} checks passed")


def _explained(event: ev.Explained) -> _Line:
    changed = [plan.name for plan in event.plans if plan.how in ("changed", "broken")]
    if not changed:
        return _Line(RUNNER, logging.INFO, f"{len(event.plans)} query plans as before")
    return _Line(RUNNER, logging.WARNING, f"Query plans changed: {', '.join(changed)}")


def _backup_created(event: ev.BackupCreated) -> _Line:
    return _Line(BACKUP, logging.INFO, f"Created backup {event.path} ({event.bytes} bytes)")


def _restored(event: ev.Restored) -> _Line:
    return _Line(BACKUP, logging.INFO, f"Restored from {event.path}")


def _maintained(event: ev.Maintained) -> _Line:
    file = f" in {event.file}" if event.file else ""
    return _Line(RUNNER, logging.INFO, f"Maintained ({event.task}): {event.rows} rows{file}")


def _lock_cleared(event: ev.LockCleared) -> _Line:
    return _Line(RUNNER, logging.WARNING, f"Claim {event.epoch} ended: {event.reason}")


def _tenant_skipped(event: ev.TenantSkipped) -> _Line:
    return _Line(FLEET, logging.WARNING, f"Set aside, {event.reason}: {event.detail}")


def _drift_detected(event: ev.DriftDetected) -> _Line:
    if event.wish:
        names = ", ".join(f"{change.kind} {change.name}" for change in event.changes)
        return _Line(RUNNER, logging.WARNING, f"Sync of {event.wish} leaves as they are: {names}")
    level = logging.INFO if event.kind == "cleared" else logging.WARNING
    return _Line(RUNNER, level, f"Drift: {event.kind}")


def _drift_accepted(event: ev.DriftAccepted) -> _Line:
    return _Line(RUNNER, logging.INFO, f"Drift accepted: {event.reason}")


def _run_started(event: ev.RunStarted) -> _Line:
    return _Line(FLEET, logging.INFO, f"{event.command} of {event.tenants} tenants started")


def _run_finished(event: ev.RunFinished) -> _Line:
    counts = ", ".join(f"{count} {result}" for result, count in event.outcomes.items())
    return _Line(FLEET, logging.INFO, f"finished: {counts} ({event.duration_us / 1e6:.2f} s)")


def _lease_renewed(event: ev.LeaseRenewed) -> _Line:
    return _Line(FLEET, logging.DEBUG, f"lease renewed for {event.lease_seconds:g} s")


_LINES: Final[dict[type, Callable[[Any], _Line]]] = {
    ev.Started: _started,
    ev.Completed: _completed,
    ev.RolledBack: _rolled_back,
    ev.Failed: _failed,
    ev.StepStarted: _step_started,
    ev.StepApplied: _step_applied,
    ev.StepSkipped: _step_skipped,
    ev.Validated: _validated,
    ev.Explained: _explained,
    ev.BackupCreated: _backup_created,
    ev.Restored: _restored,
    ev.Maintained: _maintained,
    ev.LockCleared: _lock_cleared,
    ev.TenantSkipped: _tenant_skipped,
    ev.DriftDetected: _drift_detected,
    ev.DriftAccepted: _drift_accepted,
    ev.RunStarted: _run_started,
    ev.RunFinished: _run_finished,
    ev.LeaseRenewed: _lease_renewed,
}
