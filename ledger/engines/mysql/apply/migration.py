"""One migration on one tenant, from the marker's entry before it to the entry after it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ledger.dialects.mysql.connection import uses
from ledger.dialects.mysql.dialect import MYSQL
from ledger.engines.checks import require_checks
from ledger.engines.entries import require_expected
from ledger.engines.measured import Measured
from ledger.engines.mysql.apply import guards, python, steps
from ledger.engines.mysql.apply.attempt import Attempt
from ledger.engines.mysql.apply.progress import Progress, merge
from ledger.engines.mysql.apply.reading import may_set_mode, require_section
from ledger.engines.mysql.lock.marker import Body, require_ledger
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import sync
from ledger.engines.mysql.shared import kind_of
from ledger.engines.work import Done, Journal, MarkerEntry, StepResult, Work
from ledger.errors import MarkerMismatchError, StepFailedError
from ledger.events import Change, CheckResult
from ledger.scripts.touching import Touched, touched


async def apply(opened: Opened, work: Work, journal: Journal, known: frozenset[str]) -> Done:
    remembered = await opened.fenced(epoch=work.epoch, ledger=work.ledger)
    require_ledger(remembered, ledger=work.ledger, tenant=opened.tenant)
    require_expected(remembered.entries.values(), work.ref, work.expected, tenant=opened.tenant)
    entry = remembered.entries.get(work.ref.id)
    body = Body()
    if entry is not None:
        body = await opened.table.read_body(opened.connection, work.ref.id)
    await require_section(opened, work.ref.id, work.section, sync=work.sync, checks=work.checks)
    opened.reader.work_on(touched((*work.section.steps, *work.sync), "mysql"))
    await opened.measure()
    measured = _measured(opened, work, entry, body)
    checks = await _bring_to_end(opened, work, journal, entry, body, measured)
    _remember(opened, work)
    if work.direction == "down":
        opened.reader.work_on(Touched())
    state = await opened.lineage.state(opened.reader, opened.connection, opened.origin)
    drift: tuple[Change, ...] = ()
    if work.sync:
        drift = await sync.left(opened, work.sync, state.schema, migration=work.ref.id)
    opened.bytes = state.mark.bytes
    return Done(
        checks=checks,
        mark=state.mark,
        schema=state.schema if state.mark.fingerprint not in known else None,
        bytes_before=measured.bytes,
        plans=measured.plans,
        drift=drift,
    )


def _measured(opened: Opened, work: Work, entry: MarkerEntry | None, body: Body) -> Measured:
    """What an earlier attempt measured before the first step; now, if this is the first attempt."""
    if entry is not None and entry.direction == work.direction:
        return body.measured or Measured()
    if work.intent is not None:
        return Measured(bytes=work.intent.bytes_before)
    return Measured(bytes=opened.bytes, plans=work.plans)


async def _bring_to_end(
    opened: Opened,
    work: Work,
    journal: Journal,
    entry: MarkerEntry | None,
    body: Body,
    measured: Measured,
) -> tuple[CheckResult, ...]:
    _require_direction(opened, work, entry)
    if entry is not None and entry.state == "applied" and work.direction == "up":
        progress = Progress(work, journal, opened.table, step=entry.step, measured=measured)
        progress.carry(body.steps, reported=body.reported)
        progress.report()
        return body.checks
    if entry is None and work.direction == "down":
        return _undone(opened, work, journal, measured)
    same = entry is not None and entry.direction == work.direction
    opened.lineage.attempt()
    progress = Progress(work, journal, opened.table, step=merge(entry, work), measured=measured)
    if same:
        progress.carry(body.steps, reported=body.reported)
    elif measured.plans is not None:
        await progress.save(opened.connection)
    attempt = Attempt(
        opened,
        work,
        journal,
        progress,
        kept=body.connection if same else None,
        begun=body.begun if same else None,
    )
    if work.checks and may_set_mode(work):
        await opened.sql_mode()
    try:
        if work.python is not None:
            checks = await python.run_module(attempt, body)
        else:
            await _run_section(attempt, dict(body.before))
            checks = ()
        checks += await _check(attempt)
    except BaseException:
        opened.soil()
        raise
    await progress.finish(opened.connection, checks)
    if not same and work.intent is None and work.python is None and not work.sync:
        opened.lineage.grow(work, progress.results, opened.names)
    return checks


def _undone(
    opened: Opened, work: Work, journal: Journal, measured: Measured
) -> tuple[CheckResult, ...]:
    """No entry is left of it: a run that was killed after its last write has undone it."""
    progress = Progress(work, journal, opened.table, step=0, measured=measured)
    progress.carry(
        [
            StepResult(number=step.number, name=step.name, statement=step.sha256)
            for step in work.section.steps
        ],
        reported=False,
    )
    progress.report()
    return ()


async def _run_section(attempt: Attempt, before: Mapping[str, str]) -> None:
    work = attempt.work
    landed = attempt.progress.step
    _require_landed(attempt)
    await attempt.state.begin(attempt.opened.connection)
    passed = False
    for step in work.section.steps:
        kind = kind_of(step.readable)
        if kind.kind == "session":
            attempt.opened.soil()
        elif uses(step.readable).changes:
            attempt.opened.left_something()
        if step.number <= landed:
            await steps.replay(attempt, step, kind)
            continue
        if not passed:
            passed = True
            await attempt.state.restore(attempt.opened.connection)
        if step.number in attempt.announced:
            if not await steps.take_up(attempt, step, kind, attempt.announced[step.number], before):
                # It runs only now: those announced with it had not begun.
                attempt.announced = {}
        else:
            await steps.run(attempt, step, kind)
    if not passed:
        await attempt.state.restore(attempt.opened.connection)
    await steps.end(attempt)
    if work.sync:
        await _bring_about(attempt)


async def _bring_about(attempt: Attempt) -> None:
    """After the section: compute what the tenant lacks now, and run it as further steps.

    A statement that was announced before a crash and is not wanted any more has landed:
    the same section leaves nothing of it to do.
    """
    opened, work = attempt.opened, attempt.work
    if attempt.progress.unsaved:
        await attempt.save()
    opened.known.forget()
    begun = len(work.section.steps)
    after = max(attempt.progress.step, begun)
    intent = work.intent
    announced = intent is not None and intent.step == after + 1
    statement = intent.statement if intent is not None and announced else ""
    resumed = announced or after > begun
    further = (await sync.lacking(opened, work.sync, after=after, resumed=resumed)).steps
    if intent is not None and announced and statement not in {step.sha256 for step in further}:
        await steps.found_landed(attempt, f"Sync: {', '.join(intent.objects)}", intent)
        further = (await sync.lacking(opened, work.sync, after=after + 1, resumed=True)).steps
    attempt.progress.of = attempt.progress.step + len(further)
    for step in further:
        await steps.run(attempt, step, MYSQL.classify(step.readable))
    await steps.end(attempt)


def _require_landed(attempt: Attempt) -> None:
    """A step that has landed is not run again: what stands in its place now would be left out."""
    by_number = {step.number: step for step in attempt.work.section.steps}
    for result in attempt.progress.results:
        step = by_number.get(result.number)
        of_sync = step is None and bool(attempt.work.sync)
        if result.of or of_sync or (step is not None and step.sha256 == result.statement):
            continue
        now = "is not in the file any more"
        if step is not None:
            now = f"is another statement now ({step.name}), which would not be run"
        raise StepFailedError(
            f"step {result.number} ({result.name}) has landed here, and {now}",
            step=result.number,
            hint="Put the steps that have landed back as they were, and correct those after them;"
            " or restore the tenant from its backup first.",
            tenant=attempt.opened.tenant,
            migration=attempt.migration,
            file=step.file if step is not None else None,
            line=step.line if step is not None else None,
        )


async def _check(attempt: Attempt) -> tuple[CheckResult, ...]:
    checks, connection = attempt.work.checks, attempt.opened.connection
    if not checks:
        return ()
    if attempt.progress.unsaved:
        await attempt.save()
    if may_set_mode(attempt.work):
        await attempt.opened.begin_mode_again()
    results = await guards.run_checks(connection, checks, seconds=attempt.seconds())
    if not all(result.passed for result in results):
        await attempt.progress.save(connection, reported=True)
    require_checks(results, checks, tenant=attempt.opened.tenant, migration=attempt.migration)
    return results


def _require_direction(opened: Opened, work: Work, entry: MarkerEntry | None) -> None:
    """Raises MarkerMismatchError: up steps over half-run down steps would meet an unknown schema."""
    if entry is not None and work.direction == "up" and entry.direction == "down":
        raise MarkerMismatchError(
            f"{work.ref.id} is being rolled back here: {entry.step} of its down steps have run",
            extra=(work.ref.id,),
            hint="Run `ledger rollback --tenant NAME` again, then migrate.",
            tenant=opened.tenant,
        )


def _remember(opened: Opened, work: Work) -> None:
    """Keep the marker's picture in step with what was just written."""
    if opened.remembered is None:
        return
    entries = dict(opened.remembered.entries)
    entries.pop(work.ref.id, None)
    if work.direction == "up":
        entries[work.ref.id] = MarkerEntry(
            ref=work.ref,
            state="applied",
            direction="up",
            step=len(work.section.steps),
            epoch=work.epoch,
        )
    opened.remembered = msgspec.structs.replace(opened.remembered, entries=entries)
