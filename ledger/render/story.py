"""One tenant's run step by step, from its events: what `migrate -v` shows.

Invariant: every line stands for something recorded; nothing is printed that the
ledger does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger import events as ev
from ledger.events import Recorded
from ledger.render.text import Symbols, bytes_text, one_line, seconds_text, step_name
from ledger.runner.comparison import changes_text


def story_lines(events: Iterable[Recorded], *, where: str = "", symbols: Symbols) -> Iterator[str]:
    """The lines of a run's story: backup, numbered steps, checks, and how it ended.

    `where` is the tenant's database, shown first if given.
    """
    backup, good = "", False
    for row in events:
        event = row.data
        good = isinstance(event, ev.Completed) or (good and not isinstance(event, ev.Failed))
        if isinstance(event, ev.Started):
            yield from _started(event, row.tenant or "", where, symbols)
            where = ""
        elif isinstance(event, ev.BackupCreated):
            backup = event.path
            yield f"{symbols.done} Created backup: {event.path} ({bytes_text(event.bytes)}, verified)"
        elif isinstance(event, ev.StepApplied):
            yield from _applied(event, symbols)
        elif isinstance(event, ev.StepSkipped):
            yield f"  {symbols.skipped} {step_name(event.step, event.name)} ({event.reason})"
        elif isinstance(event, ev.Validated):
            yield from _validated(event, symbols)
        elif isinstance(event, ev.Explained):
            yield from _explained(event, symbols)
        else:
            yield from _ended(event, symbols)
    if good:
        yield f"{symbols.done} Migration completed successfully!"
    if backup:
        yield f"Backup saved at: {backup}"
    if backup and good:
        yield "You can safely delete the backup if everything works correctly (`ledger backups prune`)."


def _started(event: ev.Started, tenant: str, where: str, symbols: Symbols) -> Iterator[str]:
    if where:
        yield f"{symbols.done} Connected to {tenant}: {where}"
    verb = {"migrate": "Applying", "rollback": "Rolling back"}.get(event.command)
    if event.migration is not None and verb:
        ref = event.migration
        steps = f": {event.steps} steps" if event.steps else ""
        yield f"{verb} {ref.set} {ref.version} {ref.name}{steps}"


def _applied(event: ev.StepApplied, symbols: Symbols) -> Iterator[str]:
    found = " (found done after an interruption)" if event.recovered else ""
    yield f"  {symbols.done} {step_name(event.step, event.name)}{found}"
    for warning in event.warnings:
        yield f"      warning: {one_line(warning)}"


def _validated(event: ev.Validated, symbols: Symbols) -> Iterator[str]:
    if not event.checks:
        return
    yield "Validating data integrity"
    for check in event.checks:
        sign = symbols.done if check.passed else symbols.failed
        detail = f": {one_line(check.detail)}" if check.detail and not check.passed else ""
        yield f"  {sign} {check.name}{detail}"
    if event.passed:
        yield f"{symbols.done} All validation checks passed"


def _explained(event: ev.Explained, symbols: Symbols) -> Iterator[str]:
    yield "Comparing query plans"
    for plan in event.plans:
        sign = symbols.done if plan.how in ("same", "new") else symbols.skipped
        sign = symbols.failed if plan.how == "broken" else sign
        yield f"  {sign} {one_line(plan.name)}: {plan.how.replace('_', ' ')}"
        if plan.how in ("changed", "broken"):
            yield from (f"      before: {one_line(line)}" for line in plan.before)
            yield from (f"      after:  {one_line(line)}" for line in plan.after or (plan.detail,))


def _ended(event: ev.AnyEvent, symbols: Symbols) -> Iterator[str]:
    if isinstance(event, ev.Completed):
        took = seconds_text(event.duration_us / 1e6)
        yield f"{symbols.done} Recorded {event.migration.set} {event.migration.version} ({took})"
    elif isinstance(event, ev.RolledBack):
        took = seconds_text(event.duration_us / 1e6)
        yield f"{symbols.done} Rolled back {event.migration.set} {event.migration.version} ({took})"
    elif isinstance(event, ev.Restored):
        yield f"{symbols.done} Restored from {event.path}"
        for ref in event.lost:
            yield f"  {symbols.skipped} {ref.set} {ref.version} is no longer applied"
    elif isinstance(event, ev.Baselined):
        for ref in event.migrations:
            yield f"{symbols.done} Counted as applied: {ref.set} {ref.version} {ref.name}"
    elif isinstance(event, ev.Failed):
        at = f" at step {event.step}" if event.step else ""
        place = f" ({event.file}:{event.line})" if event.file else ""
        yield f"{symbols.failed} Failed{at}: {one_line(event.message)}{place}"
        if event.landed:
            yield f"  Steps that have landed, and stay: {', '.join(map(str, event.landed))}"
    elif isinstance(event, ev.LockCleared):
        yield f"{symbols.done} Released the claim: {one_line(event.reason)}"
    elif isinstance(event, ev.DriftDetected) and event.wish:
        names = ", ".join(one_line(f"{change.kind} {change.name}") for change in event.changes)
        yield f"  {symbols.skipped} Sync: left as they are: {names}"
    elif isinstance(event, ev.DriftAccepted):
        yield f"{symbols.done} Accepted as it is: {one_line(changes_text(event.changes))}"
    elif isinstance(event, ev.DriftDetected) and event.kind == "schema":
        yield f"{symbols.failed} Drift: {one_line(changes_text(event.changes))}"
    elif isinstance(event, ev.DriftDetected) and not event.aside:
        sign = symbols.done if event.kind == "cleared" else symbols.failed
        yield f"{sign} Schema: {event.kind}"
