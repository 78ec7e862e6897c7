"""Steps of the file's own transaction that its rollback does not undo, or that may commit it by themselves.

Before the first an intent says which step is reached; before the second the marker says, inside the
transaction, what has landed if it commits. Invariant: after a kill such a step, and the rows
before it, are there once, or it is in doubt.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from ledger.dialects.kinds import StatementKind
from ledger.dialects.steps import Step
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.checks import is_true
from ledger.engines.mysql.apply import guards, sharing
from ledger.engines.mysql.apply.progress import Progress
from ledger.engines.mysql.opened import Opened
from ledger.engines.work import Intent, StepResult, Work
from ledger.errors import InDoubtError

RUNS_CODE: Final = ("call", "other")
"""Kinds of statements that may commit, and of which the text does not show it."""


async def announce(
    opened: Opened,
    progress: Progress,
    before: Sequence[StepResult],
    step: Step,
    kind: StatementKind,
) -> bool:
    """Make durable what a later run has to know about the step. Whether a rollback leaves something of it.

    `before` are the transaction's steps so far.
    """
    lasts = await outlasts(opened, step, kind)
    if lasts:
        await progress.intend_within(step, opened.connection.thread_id)
    if kind.kind in RUNS_CODE and not kind.redo_safe:
        await progress.begin_within(opened.connection, step, before)
    return lasts


async def outlasts(opened: Opened, step: Step, kind: StatementKind) -> bool:
    """Whether a rollback leaves something of what the step does."""
    connection = opened.connection
    if step.redo_safe:
        return False
    if kind.kind == "dml":
        return not await sharing.rows_share_transaction(connection, opened.storage, step, kind)
    if kind.verb == "CALL":
        return not await sharing.rollback_undoes_call(connection, kind.target)
    if kind.kind in RUNS_CODE:
        return not kind.redo_safe
    return not kind.settleable or await sharing.calls(connection, step, kind) == "anything"


async def has_run(opened: Opened, work: Work, step: Step, kind: StatementKind) -> bool:
    """Whether the step has had its effect in an attempt whose transaction was rolled back.

    Raises InDoubtError where nothing shows it.
    """
    intent = work.intent
    if intent is None or step.number > intent.reached or not await outlasts(opened, step, kind):
        return False
    if work.resolved is not None and work.resolved_step == intent.reached:
        return work.resolved == "applied"
    steps = {step.number: step for step in work.section.steps}
    same = steps.get(intent.reached, step).sha256 == intent.statement
    earlier = same and step.number < intent.reached
    if earlier and await _writes_one_table(opened, step, kind):
        return True
    if step.verify_step is not None:
        try:
            value = await guards.first_value(opened.connection, step.verify_step)
            return is_true(value)
        except QueryError as error:
            raise _in_doubt(
                opened, work, intent, step, f"its -- verify-step cannot run: {error}"
            ) from error
    raise _in_doubt(opened, work, intent, step, "a rollback does not undo what it does")


async def _writes_one_table(opened: Opened, step: Step, kind: StatementKind) -> bool:
    """Whether a rollback undoes nothing of it: it writes into one table without transactions, and no other."""
    engine = opened.storage.get(kind.target, "")
    if (
        kind.kind != "dml"
        or kind.joins
        or engine in ("", sharing.TRIGGERED, *sharing.TRANSACTIONAL)
    ):
        return False
    return await sharing.calls_of_rows(opened.connection, step, kind) == "nothing"


def _in_doubt(opened: Opened, work: Work, intent: Intent, step: Step, why: str) -> InDoubtError:
    """The error for the step that the transaction had reached; `step` is the one that nothing settles."""
    tenant = opened.tenant
    shown = "(withheld: the step is marked secret)" if step.secret else step.sql
    return InDoubtError(
        f"the file's own transaction was rolled back when an earlier run ended in its step {intent.reached}, and"
        f" nothing shows what of step {step.number} ({step.name}) is there: {why}",
        step=intent.reached,
        evidence={"statement": shown, "reason": why},
        hint=f"Look at the tenant, then type `ledger resolve {shlex.quote(tenant)} --applied` if what these steps do"
        " outside the transaction is there, or the same with `--not-applied` or `--restore`.",
        tenant=tenant,
        migration=work.ref.id,
        file=step.file,
        line=step.line,
    )
