"""What is there before a statement that spares it: objects, columns and keys.

Invariant: what a step was to make and found there, and what it was to drop and did not find, is known before its
first attempt and is durable where that changes it; a later attempt would find what the first one made.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from ledger.dialects.kinds import StatementKind
from ledger.dialects.steps import Step
from ledger.engines.measured import StepParts
from ledger.engines.mysql.apply import guards
from ledger.engines.mysql.apply.attempt import Attempt
from ledger.engines.mysql.schema import objects
from ledger.engines.mysql.shared import kind_of
from ledger.engines.work import StepResult
from ledger.events import Part
from ledger.scripts.effects import Guarded, guarded

PARTS: Final = """
SELECT 'column', COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
UNION
SELECT 'index', INDEX_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
UNION
SELECT LOWER(SUBSTRING_INDEX(CONSTRAINT_TYPE, ' ', 1)), CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
"""
_OF_TABLE: Final = frozenset({"column", "index", "foreign", "check", "constraint"})


class Before(NamedTuple):
    """As StepApplied has them."""

    existed: bool | None = None
    already: tuple[Part, ...] = ()

    def of(self, result: StepResult) -> StepResult:
        """The result of the step that ran then."""
        return msgspec.structs.replace(result, existed=self.existed, already=self.already)


async def look(attempt: Attempt, step: Step, kind: StatementKind) -> Before:
    """What the statement finds there. What is no tenant's own is not looked for."""
    if attempt.work.direction != "up":
        return Before()
    if kind.may_find:
        return Before(existed=await _was_there(attempt, step, kind))
    guards_of = guarded(kind)
    return Before(already=await _already(attempt, step, guards_of)) if guards_of else Before()


async def is_there(attempt: Attempt, kind: StatementKind) -> bool | None:
    """Whether what a CREATE may find is there; None where it would not be the tenant's own.

    Asked beforehand: sql_notes and max_error_count can hide the server's note about it.
    """
    pairs = objects.touched(kind)[:1]
    if not (pairs and kind.may_find) or "." in kind.target + kind.owner:
        return None
    connection, names = attempt.opened.connection, attempt.opened.names
    if kind.object == "index":
        rows = await connection.fetch(guards.INDEX, (kind.target,))
        return kind.owner.lower() in {str(row[0]).lower() for row in rows}
    (found,) = await objects.states(connection, pairs, names, attempt.opened.known)
    return found.text is not None


async def _was_there(attempt: Attempt, step: Step, kind: StatementKind) -> bool | None:
    """Whether what a CREATE may find was there before the step's first attempt; None as for `is_there`.

    That it was absent is durable before it is made; with it, in the same write, the following steps
    whose objects are known to be absent.
    """
    progress = attempt.progress
    if step.number in progress.measured.absent:
        return False
    found = await is_there(attempt, kind)
    if found is False:
        later = (
            other.number
            for other in attempt.work.section.steps[step.number :]
            if other.skip_if is None and _finds_nothing(attempt, kind_of(other.readable))
        )
        absent = (*progress.measured.absent, step.number, *later)
        progress.measured = msgspec.structs.replace(progress.measured, absent=absent)
        await attempt.save()
    return found


def _finds_nothing(attempt: Attempt, kind: StatementKind) -> bool:
    """Whether it is a CREATE … IF NOT EXISTS of an object that is known to be absent."""
    pairs = objects.touched(kind)[:1]
    return (
        kind.may_find
        and bool(pairs)
        and kind.object != "index"
        and attempt.opened.known.rules_out(*pairs[0])
    )


def known(attempt: Attempt, step: Step) -> tuple[Part, ...] | None:
    """What an earlier attempt found so already; None where none has looked."""
    found = attempt.progress.measured.already
    return next((one.parts for one in found if one.step == step.number), None)


async def _already(
    attempt: Attempt, step: Step, guards_of: tuple[Guarded, ...]
) -> tuple[Part, ...]:
    """The parts that the statement's guards leave alone."""
    before = known(attempt, step)
    if before is not None:
        return before
    left = [one for one in guards_of if await _is_there(attempt, one) == one.adds]
    parts = tuple(dict.fromkeys(part for one in left for part in one.parts))
    if len(left) < len(guards_of) or any(one.adds for one in guards_of):
        measured = attempt.progress.measured
        already = (*measured.already, StepParts(step=step.number, parts=parts))
        attempt.progress.measured = msgspec.structs.replace(measured, already=already)
        await attempt.save()
    return parts


async def _is_there(attempt: Attempt, one: Guarded) -> bool:
    opened = attempt.opened
    if one.sort not in _OF_TABLE:
        (found,) = await objects.states(
            opened.connection, ((_shown(one.sort), one.name),), opened.names, opened.known
        )
        return found.text is not None
    rows = await opened.connection.fetch(PARTS, (one.table,) * 3)
    return any(
        str(name).lower() == one.name.lower()
        and (str(sort) == one.sort or (one.sort == "constraint" and str(sort) != "column"))
        for sort, name in rows
    )


def _shown(sort: str) -> str:
    """A view and a table have one SHOW CREATE."""
    return "table" if sort == "view" else sort
