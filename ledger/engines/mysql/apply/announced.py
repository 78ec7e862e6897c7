"""Statements that define objects, or that nothing can settle: announced before they run.

One commits by itself. Its intent is durable before it runs, and after a crash the state of what
it touches says whether it landed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import failpoints
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.connection import uses
from ledger.dialects.steps import Step
from ledger.drivers.mysql_errors import ConnectionLostError, QueryError, QueryTimeoutError
from ledger.engines.mysql.apply import beforehand, staying
from ledger.engines.mysql.apply.attempt import Attempt
from ledger.engines.mysql.schema import objects
from ledger.engines.mysql.shared import kind_of
from ledger.engines.work import ABSENT, Intent
from ledger.events import AheadStep

MAKES: Final = ("table", "view")
"""Statements that make one object or fail, and change no other."""


async def run_announced(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """Announce the step, unless an intent before it has, and run it."""
    opened = attempt.opened
    pairs = objects.touched(kind)
    before: str | None = None
    rows: int | None = None
    try:
        found = await beforehand.look(attempt, step, kind)
        rows = await staying.count(opened, step, kind)
        if step.number in attempt.ahead:
            attempt.journal.require_lease()
            before = ABSENT
        else:
            before = await _announce(attempt, step, kind, pairs)
        result = await attempt.try_it(step, kind)
        failpoints.reach("engine.after_statement")
        after = ""
        if pairs and opened.shared.wants_after(step, before):
            try:
                after = await attempt.fingerprint_of(pairs)
            except BaseException:
                opened.shared.saw_no_after(step, before)
                raise
    except QueryTimeoutError as error:
        raise await attempt.timed_out(error, step, pairs, before) from error
    except ConnectionLostError as error:
        raise attempt.lost(error, step) from error
    except QueryError as error:
        stay = await staying.after(opened, step, kind, error, rows)
        raise await attempt.failed(error, step, stay or "") from error
    attempt.progress.done(found.of(msgspec.structs.replace(result, before=before, after=after)))
    attempt.unsaved_ddl = True
    following = attempt.work.section.steps[step.number : step.number + 1]
    if any(uses(other.readable).reads_last for other in following):
        await attempt.before_other(step)


async def _announce(
    attempt: Attempt, step: Step, kind: StatementKind, pairs: tuple[tuple[str, str], ...]
) -> str:
    """Make it durable that the step is about to run on this; the fingerprint of what it touches."""
    opened = attempt.opened
    connection = opened.connection
    ahead = _also(attempt, step, kind)
    found = await objects.states(connection, pairs, opened.names, opened.known)
    opened.known.add(pairs)
    before = objects.fingerprint(found, opened.names)
    texts = tuple((state.key, state.raw) for state in found if state.raw)
    if texts:
        await attempt.progress.save(connection, before=texts)
    await attempt.progress.intend(
        connection,
        Intent(
            step=step.number,
            statement=step.sha256,
            before=before,
            objects=tuple(state.key for state in found),
            connection_id=connection.thread_id,
            ahead=ahead,
        ),
    )
    attempt.ahead = {other.step for other in ahead}
    attempt.unsaved_ddl = False
    return before


def _also(attempt: Attempt, step: Step, kind: StatementKind) -> tuple[AheadStep, ...]:
    """The following steps that the same intent announces, as long as each makes something new.

    What is absent stays so until the step that makes it, whatever the steps before it
    do to the rest; so its before is known now. The session's lock has to keep out a
    successor meanwhile, since the ledger is not asked before each of them.
    """
    found: list[AheadStep] = []
    taken: set[str] = set()
    pairs = _new(attempt, step, kind)
    if not pairs or not attempt.opened.locked:
        return ()
    taken.update(name.lower() for _, name in pairs)
    for other in attempt.work.section.steps[step.number :]:
        pairs = _new(attempt, other, kind_of(other.readable))
        names = {name.lower() for _, name in pairs}
        if not pairs or names & taken:
            break
        taken |= names
        attempt.opened.known.add(pairs)
        keys = tuple(objects.object_key(special, name) for special, name in pairs)
        found.append(AheadStep(step=other.number, statement=other.sha256, objects=keys))
    return tuple(found)


def _new(attempt: Attempt, step: Step, kind: StatementKind) -> tuple[tuple[str, str], ...]:
    """What the step makes, if that is all it does, and none of it is there; else nothing."""
    plain = step.skip_if is None and step.verify_step is None and not step.redo_safe
    if (
        not plain
        or kind.redo_safe
        or not kind.settleable
        or kind.kind != "ddl"
        or not kind.makes(*MAKES)
        or kind.replaces
        or uses(step.readable).reads
    ):
        return ()
    pairs = objects.touched(kind)
    absent = all(attempt.opened.known.rules_out(*pair) for pair in pairs)
    return pairs if absent else ()
