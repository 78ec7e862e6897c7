"""One migration on one tenant, from the marker's entry before it to the entry after it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import msgspec

from ledger.dialects.mysql.connection import uses
from ledger.dialects.mysql.sql_mode import misread
from ledger.engines.checks import require_checks
from ledger.engines.entries import entry_id, require_expected
from ledger.engines.measured import Measured
from ledger.engines.mysql.apply import guards, python
from ledger.engines.mysql.apply.progress import Progress, merge
from ledger.engines.mysql.apply.run import Run
from ledger.engines.mysql.lock.marker import Body, require_ledger
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import sync
from ledger.engines.mysql.shared import kind_of
from ledger.engines.work import Done, Journal, MarkerEntry, StepResult, Work
from ledger.errors import MarkerMismatchError, StepFailedError, TenantError
from ledger.events import Change, CheckResult
from ledger.scripts.touching import Touched, touched


async def apply(opened: Opened, work: Work, journal: Journal, known: frozenset[str]) -> Done:
    """See Session.apply."""
    remembered = await opened.fenced(epoch=work.epoch, ledger=work.ledger)
    require_ledger(remembered, ledger=work.ledger, tenant=opened.tenant)
    require_expected(remembered.entries.values(), work.ref, work.expected, tenant=opened.tenant)
    entry = remembered.entries.get(entry_id(work.ref))
    body = Body()
    if entry is not None:
        body = await opened.table.read_body(opened.connection, entry_id(work.ref))
    await _require_read_alike(opened, work)
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
        with contextlib.suppress(sync.ScratchDeniedError):
            wanted = await sync.make(opened, work.sync, migration=entry_id(work.ref))
            drift = sync.left(wanted, state.schema)
    opened.bytes = state.mark.bytes
    return Done(
        checks=checks,
        mark=state.mark,
        schema=state.schema if state.mark.fingerprint not in known else None,
        bytes_before=measured.bytes,
        plans=measured.plans,
        drift=drift,
    )


async def _require_read_alike(opened: Opened, work: Work) -> None:
    """Raises TenantError where the connection's sql_mode ends the file's quotes elsewhere than the splitter did.

    Asked only where a backslash makes that possible.
    """
    if not any("\\" in step.sql for step in work.section.steps):
        return
    ((mode,),) = await opened.connection.fetch("SELECT @@sql_mode")
    found = misread(work.section.steps, frozenset(str(mode).upper().split(",")))
    if found is None:
        return
    step = found.step
    raise TenantError(
        f"step {step.number} ({step.name}) is read differently under this connection's sql_mode"
        f" ({', '.join(sorted(found.modes))}): its quotes end elsewhere than where the file was divided",
        hint=f"Begin the section with SET sql_mode = '{mode}'; the file is then read by that mode.",
        tenant=opened.tenant,
        migration=entry_id(work.ref),
        file=step.file,
        line=step.line,
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
        progress.carry(body.steps, told=body.told)
        progress.tell()
        return body.checks
    if entry is None and work.direction == "down":
        return _undone(opened, work, journal, measured)
    same = entry is not None and entry.direction == work.direction
    opened.lineage.attempt()
    progress = Progress(work, journal, opened.table, step=merge(entry, work), measured=measured)
    if same:
        progress.carry(body.steps, told=body.told)
    elif measured.plans is not None:
        await progress.save(opened.connection)
    run = Run(
        opened,
        work,
        journal,
        progress,
        kept=body.connection if same else None,
        begun=body.begun if same else None,
    )
    try:
        if work.python is not None:
            checks = await python.run_module(run, body)
        else:
            await _run_section(run, dict(body.before))
            checks = ()
        checks += await _check(run)
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
        told=False,
    )
    progress.tell()
    return ()


async def _run_section(run: Run, before: Mapping[str, str]) -> None:
    work = run.work
    landed = run.progress.step
    _require_landed(run)
    await run.state.begin(run.opened.connection)
    passed = False
    for step in work.section.steps:
        kind = kind_of(step.sql)
        if kind.kind == "session":
            run.opened.soil()
        elif uses(step.sql).changes:
            run.opened.left_something()
        if step.number <= landed:
            await run.replay(step, kind)
            continue
        if not passed:
            passed = True
            await run.restore()
        if step.number in run.announced:
            if not await run.take_up(step, kind, run.announced[step.number], before):
                # It runs only now: those announced with it had not begun.
                run.announced = {}
        else:
            await run.run(step, kind)
    if not passed:
        await run.restore()
    await run.end()
    if work.sync:
        await sync.bring_about(run)


def _require_landed(run: Run) -> None:
    """A step that has landed is not run again: what stands in its place now would be left out."""
    steps = {step.number: step for step in run.work.section.steps}
    for result in run.progress.results:
        step = steps.get(result.number)
        of_sync = step is None and bool(run.work.sync)
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
            tenant=run.opened.tenant,
            migration=run.migration,
            file=step.file if step is not None else None,
            line=step.line if step is not None else None,
        )


async def _check(run: Run) -> tuple[CheckResult, ...]:
    checks, connection = run.work.checks, run.opened.connection
    if not checks:
        return ()
    if run.progress.unsaved:
        await run.save()
    results = await guards.run_checks(connection, checks, seconds=run.seconds())
    if not all(result.passed for result in results):
        await run.progress.save(connection, told=True)
    require_checks(results, checks, tenant=run.opened.tenant, migration=run.migration)
    return results


def _require_direction(opened: Opened, work: Work, entry: MarkerEntry | None) -> None:
    """Raises MarkerMismatchError: up steps over half-run down steps would meet an unknown schema."""
    if entry is not None and work.direction == "up" and entry.direction == "down":
        raise MarkerMismatchError(
            f"{entry_id(work.ref)} is being rolled back here: {entry.step} of its down steps have run",
            extra=(entry_id(work.ref),),
            hint="Run `ledger rollback --tenant NAME` again, then migrate.",
            tenant=opened.tenant,
        )


def _remember(opened: Opened, work: Work) -> None:
    """Keep the marker's picture in step with what was just written."""
    if opened.remembered is None:
        return
    entries = dict(opened.remembered.entries)
    entries.pop(entry_id(work.ref), None)
    if work.direction == "up":
        entries[entry_id(work.ref)] = MarkerEntry(
            ref=work.ref,
            state="applied",
            direction="up",
            step=len(work.section.steps),
            epoch=work.epoch,
        )
    opened.remembered = msgspec.structs.replace(opened.remembered, entries=entries)
