"""Events written to Python's logging, once they are durable, each by the area that it belongs to.

`ledger.fleet`, `ledger.runner`, `ledger.engine` and `ledger.backup` are loggers that an
application may route as it likes; `ledger.store` is the store's own. Invariant: a line
stands for something that the ledger holds, and costs nothing while no logger listens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger import events as ev
from ledger.events import AnyEvent, MigrationRef, Recorded

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
    line = _of_run(event) or _of_step(event) or _of_tenant(event)
    return line or _Line(RUNNER, logging.INFO, row.type.replace("_", " "))


def _of_run(event: AnyEvent) -> _Line | None:
    match event:
        case ev.RunStarted():
            said = f"{event.command} of {event.tenants} tenants started"
            return _Line(FLEET, logging.INFO, said)
        case ev.RunFinished():
            counts = ", ".join(f"{count} {result}" for result, count in event.outcomes.items())
            said = f"finished: {counts} ({event.duration_us / 1e6:.2f} s)"
            return _Line(FLEET, logging.INFO, said)
        case ev.LeaseRenewed():
            return _Line(FLEET, logging.DEBUG, f"lease renewed for {event.lease_seconds:g} s")
        case ev.TenantSkipped():
            return _Line(FLEET, logging.WARNING, f"Set aside, {event.reason}: {event.detail}")
        case _:
            return None


def _of_step(event: AnyEvent) -> _Line | None:
    match event:
        case ev.StepStarted():
            said = f"{event.version} step {event.step} begins"
        case ev.StepApplied():
            took = f"{event.duration_us / 1000:.1f} ms"
            said = f"{event.version} step {event.step}/{event.of} {event.name} applied ({took})"
        case ev.StepSkipped():
            said = f"{event.version} step {event.step}/{event.of} {event.name}"
            said += f" skipped: {event.reason}"
        case _:
            return None
    return _Line(ENGINE, logging.DEBUG, said)


def _of_tenant(event: AnyEvent) -> _Line | None:
    """What has become of a tenant: a migration, a backup, its schema, its claim."""
    logger, level = RUNNER, logging.INFO
    match event:
        case ev.Started(migration=None):
            said = f"Starting {event.command}"
        case ev.Started(migration=MigrationRef() as ref):
            kind = "migration" if event.direction == "up" else "rollback of migration"
            said = f"Starting {kind} {ref.version} ({ref.set}, {ref.name})"
        case ev.Completed():
            took = f"{event.duration_us / 1000:.0f} ms"
            said = f"Migration {event.migration.version} completed successfully ({took})"
        case ev.RolledBack():
            said = f"Migration {event.migration.version} rolled back"
        case ev.Failed():
            level = logging.ERROR
            what = f"Migration {event.version}" if event.version else event.command.capitalize()
            said = f"{what} failed{f' at step {event.step}' if event.step else ''}: {event.message}"
        case ev.Validated():
            level = logging.INFO if event.passed else logging.WARNING
            good = sum(check.passed for check in event.checks)
            said = f"{good} of {len(event.checks)} checks passed"
        case ev.Explained():
            changed = [plan.name for plan in event.plans if plan.how in ("changed", "broken")]
            level = logging.WARNING if changed else logging.INFO
            said = f"Query plans changed: {', '.join(changed)}"
            said = said if changed else f"{len(event.plans)} query plans as before"
        case ev.BackupCreated():
            logger, said = BACKUP, f"Created backup {event.path} ({event.bytes} bytes)"
        case ev.Restored():
            logger, said = BACKUP, f"Restored from {event.path}"
        case ev.Maintained():
            file = f" in {event.file}" if event.file else ""
            said = f"Maintained ({event.task}): {event.rows} rows{file}"
        case ev.LockCleared():
            level, said = logging.WARNING, f"Claim {event.epoch} ended: {event.reason}"
        case ev.DriftDetected() if event.wish:
            level = logging.WARNING
            names = ", ".join(f"{change.kind} {change.name}" for change in event.changes)
            said = f"Sync of {event.wish} leaves as they are: {names}"
        case ev.DriftDetected():
            level = logging.INFO if event.kind == "cleared" else logging.WARNING
            said = f"Drift: {event.kind}"
        case ev.DriftAccepted():
            said = f"Drift accepted: {event.reason}"
        case _:
            return None
    return _Line(logger, level, said)
