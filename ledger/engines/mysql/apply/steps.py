"""Bringing one step to its end: whether it runs, and in which of the three ways.

A statement of rows shares a transaction with the marker. One that defines objects commits by itself and is
announced. Statements that may simply be repeated need neither. Invariant: no statement runs whose outcome
a later run could not ask for, but those that the plan has named.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping

import msgspec

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.connection import uses
from ledger.dialects.steps import Step
from ledger.drivers.mysql_errors import ConnectionLostError, QueryError, QueryTimeoutError
from ledger.engines.mysql.apply import announced, beforehand, guards, settle, sharing, transaction
from ledger.engines.mysql.apply.attempt import (
    Attempt,
    is_lock,
    result_of,
    shown,
)
from ledger.engines.mysql.apply.staying import Staying
from ledger.engines.mysql.schema import objects
from ledger.engines.work import ABSENT, Intent, StepResult
from ledger.errors import InDoubtError, StepFailedError


async def run(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """Run a step that has not landed."""
    if not attempt.in_own_transaction():
        attempt.end_own()
    if kind.kind in ("call", "other"):
        attempt.opened.known.forget()
    if kind.kind in ("call", "other", "ddl"):
        attempt.opened.storage.clear()
    if attempt.state.already_gone(step) or not _require_known(attempt, step):
        attempt.land(
            msgspec.structs.replace(result_of(step, time.perf_counter_ns()), recovered=True)
        )
        return
    if step.skip_if is not None and step.number not in attempt.progress.measured.open:
        await attempt.before_other(step)
        try:
            reason = await guards.skip_reason(
                attempt.opened.connection, step.skip_if, attempt.opened.target
            )
        except QueryError as error:
            raise await attempt.failed(error, step) from error
        if reason:
            attempt.state.passed(step)
            attempt.land(result_of(step, time.perf_counter_ns(), skipped=reason))
            return
    if kind.kind == "transaction":
        await transaction.run_transaction(attempt, step, kind)
        return
    if attempt.in_own_transaction():
        if not kind.commits:
            await transaction.run_within(attempt, step, kind)
            return
        await transaction.commit_own(attempt, step)
    calls = await _calls(attempt, step, kind)
    if _may_be_repeated(step, kind, calls):
        await attempt.before_other(step)
        await _plain(attempt, step, kind)
    elif (
        await sharing.rows_share_transaction(
            attempt.opened.connection, attempt.opened.storage, step, kind
        )
        if kind.kind == "dml"
        else calls == "undone" and kind.settleable
    ):
        await attempt.before_other(step)
        await transaction.run_rows(attempt, step, kind)
    elif step.redo_safe:
        await attempt.before_other(step)
        await _plain(attempt, step, kind)
    else:
        await announced.run_announced(attempt, step, kind)


async def replay(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """Run a step that landed in an earlier attempt again for what it does to its connection, if need be."""
    attempt.state.lose(step)
    lasting = kind.kind == "session" or uses(step.readable).again
    if not lasting or is_lock(kind) or not attempt.state.runs_again(step):
        return
    try:
        if not _may_be_repeated(
            step, kind, await sharing.calls(attempt.opened.connection, step, kind)
        ):
            raise _not_again(attempt, step)
        await attempt.try_it(step, kind, again=True)
    except (ConnectionLostError, QueryTimeoutError) as error:
        raise attempt.lost(error, step) from error
    except QueryError as error:
        raise await attempt.failed(error, step) from error


def _not_again(attempt: Attempt, step: Step) -> InDoubtError:
    """The error for a landed step whose result was not kept, and that has an effect of its own."""
    tenant = attempt.opened.tenant
    return InDoubtError(
        f"step {step.number} ({step.name}) has landed, and what it left in its connection is lost",
        step=step.number,
        evidence={"statement": shown(step)},
        hint=f"Restore the tenant (`ledger resolve {tenant} --restore`), and keep the result in a table.",
        tenant=tenant,
        migration=attempt.migration,
        file=step.file,
        line=step.line,
    )


def _require_known(attempt: Attempt, step: Step) -> bool:
    """Whether the step is to run: not if a person said that it has.

    Raises InDoubtError if it needs what a lost connection knew and the marker does not hold.
    """
    why = attempt.state.missing(step)
    word = attempt.work.resolved if attempt.work.resolved_step == step.number else None
    if not why or word == "not_applied":
        return True
    if word == "applied":
        return False
    raise InDoubtError(
        f"step {step.number} ({step.name}) cannot go on: {why}",
        step=step.number,
        evidence={"statement": shown(step), "reason": why},
        hint=f"Restore the tenant (`ledger resolve {shlex.quote(attempt.opened.tenant)} --restore`), or bring "
        "about by hand what the step does and say `--applied`; `--not-applied` runs it with "
        "what there is.",
        tenant=attempt.opened.tenant,
        migration=attempt.migration,
        file=step.file,
        line=step.line,
    )


async def take_up(
    attempt: Attempt, step: Step, kind: StatementKind, intent: Intent, before: Mapping[str, str]
) -> bool:
    """Settle a step that was announced, and run it unless it has landed. Whether it had landed."""
    verdict = await settle.verdict(attempt.opened, attempt.work, step, kind, intent, before)
    if verdict.landed:
        attempt.state.took_up(step)
        attempt.land(
            StepResult(
                number=step.number,
                name=step.name,
                statement=step.sha256,
                recovered=True,
                before=intent.before,
                after=verdict.found,
                existed=intent.before != ABSENT if kind.may_find else None,
                already=beforehand.known(attempt, step) or (),
                made=step.adds,
            )
        )
        await attempt.save()
        return True
    await run(attempt, step, kind)
    return False


async def found_landed(attempt: Attempt, name: str, intent: Intent) -> None:
    """Record a step of a sync section that was announced, and whose effect is there."""
    attempt.land(
        StepResult(
            number=intent.step,
            name=name,
            statement=intent.statement,
            recovered=True,
            before=intent.before,
        )
    )
    await attempt.save()


async def end(attempt: Attempt) -> None:
    """After the last step. Raises StepFailedError if a transaction of the file is still open."""
    if attempt.own and attempt.in_own_transaction():
        first = attempt.own[0]
        stay = await attempt.roll_back() or "; nothing of it was kept"
        why = f"the migration ends inside the transaction that step {first.number} began"
        if isinstance(stay, Staying):
            step = attempt.work.section.steps[stay.step - 1]
            raise attempt.staying(stay, step, why)
        raise StepFailedError(
            f"{why}{stay}",
            step=first.number,
            hint="End it with COMMIT.",
            tenant=attempt.opened.tenant,
            migration=attempt.migration,
        )
    attempt.end_own()


async def _plain(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """A statement that may simply be repeated, or whose effect is its connection's."""
    try:
        if step.skip_if is not None and kind.kind == "ddl":
            await _keep_open(attempt, step)
        before = await beforehand.look(attempt, step, kind)
        attempt.opened.known.add(objects.touched(kind))
        attempt.land(before.of(await attempt.try_it(step, kind)))
    except QueryTimeoutError as error:
        raise await attempt.timed_out(error, step) from error
    except ConnectionLostError as error:
        raise attempt.lost(error, step) from error
    except QueryError as error:
        raise await attempt.failed(error, step) from error


async def _keep_open(attempt: Attempt, step: Step) -> None:
    """Make it durable that the guard let the step run: its own effect must not skip it when it is repeated."""
    measured = attempt.progress.measured
    if step.number not in measured.open:
        opened = (*measured.open, step.number)
        attempt.progress.measured = msgspec.structs.replace(measured, open=opened)
        await attempt.save()


async def _calls(attempt: Attempt, step: Step, kind: StatementKind) -> sharing.Calls:
    """What the functions do that a statement calls which neither defines anything nor is about rows."""
    if kind.fills or kind.kind == "dml":
        return "nothing"
    return await sharing.calls(attempt.opened.connection, step, kind)


def _may_be_repeated(step: Step, kind: StatementKind, calls: sharing.Calls) -> bool:
    """Whether running it twice is running it once. A temporary table is gone with its connection."""
    if kind.kind in ("session", "query"):
        once = calls != "nothing" or (not kind.settleable and not kind.temporary)
        return not once or step.redo_safe
    return (step.redo_safe or kind.redo_safe) and kind.kind != "dml"
