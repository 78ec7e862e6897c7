"""Which down steps undo a migration of which some up steps have made nothing.

Invariant: a down step is chosen only where it is certain that what it undoes was made by the
migration: what a step was to make and has not made, since it has not run, its guard held or
its object was there already, is somebody else's; and what it was to drop and has not found never was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.kinds import StatementKind
from ledger.dialects.steps import DialectName, Section, SkipIf, Step
from ledger.events import Part
from ledger.scripts.effects import Effect, Effects, effects, guarded, readable_effects
from ledger.scripts.model import Migration

Why = Literal["skipped", "found", "already", "rows"]


class NotMade(NamedTuple):
    """Why an up step made nothing, or not all: its guard held, it found its object there, the `parts` were already
    as they were to be, or an INSERT found `rows` there. Without `parts` it made nothing at all; with `rows`, too,
    unless `partly`.
    """

    why: Why
    parts: frozenset[Part] = frozenset()
    rows: int = 0
    partly: bool = False


class Undecided(NamedTuple):
    """`step` of the down section may undo more than was made: also what the up step `up` has not made.

    `why` says in words why that made nothing.
    """

    step: Step
    up: Step
    why: str


class _Made(NamedTuple):
    """What the up steps of a migration acted on, and, by their numbers, what others were to act on.

    A number stands in `unknown` if that cannot be read from its step.
    """

    landed: set[Effect]
    others: dict[int, Effects]
    unknown: frozenset[int]

    def made(self, one: Effect) -> bool:
        """Whether this of a down step undoes what has landed."""
        return any(_undoes(one, up) for up in self.landed)

    def other(self, one: Effect) -> int | None:
        """The first step that has not made what this of a down step may undo."""
        for number, found in self.others.items():
            for up in found:
                if _undoes(one, up) or (up.does == "changes" and _same(one, up)):
                    return number
        return None

    def within(self, one: Effect, tables: Mapping[str, int]) -> int | None:
        """The step that found the whole table there, with this column or key in it."""
        if one.does == "makes" or one.space not in ("column", "key") or self.made(one):
            return None
        return tables.get(one.table)


def undoing(
    migration: Migration, ran: Collection[int], not_made: Mapping[int, NotMade] | None = None
) -> Section | None:
    """The part of a bound migration's down section that undoes the up steps `ran`, numbered anew.

    None where the statements do not show it.
    """
    down = migration.down
    if down is None or migration.python is not None or migration.sync:
        return None
    left = {
        step.number: NotMade("skipped") for step in migration.up.steps if step.number not in ran
    }
    made = _made(migration, dict(not_made or {}) | left)
    if not made.unknown.isdisjoint(ran):
        return None
    chosen: list[Step] = []
    undone: set[Effect] = set()
    for step in down.steps:
        found = _effects_of(step, migration.dialect)
        if found is None:
            return None
        of_landed = any(made.made(one) for one in found)
        of_others = any(made.other(one) is not None for one in found)
        if found and (of_landed == of_others or (made.unknown and not of_landed)):
            return None
        if of_landed or not found:
            chosen.append(msgspec.structs.replace(step, number=len(chosen) + 1))
            undone |= found
    if not all(_covered(effect, undone) for effect in made.landed):
        return None
    return msgspec.structs.replace(down, steps=tuple(chosen))


def sparing(
    migration: Migration,
    not_made: Mapping[int, NotMade],
    *,
    also: Iterable[Part] = (),
    tables: Mapping[str, int] | None = None,
) -> Section | Undecided | None:
    """The down section of a bound migration whose up steps `not_made` made nothing on this tenant, or not all.

    A guard keeps a down step from running that would undo just these. Undecided where a down step may undo one of
    these together with other things. `also` are columns and keys that a section sync made in `tables` that were
    there, each with the number of the step that desired it.
    """
    down = migration.down
    if down is None or not (not_made or tables):
        return down
    made = _made(migration, not_made)
    made.landed.update(Effect(one.kind, one.name, one.table) for one in also)
    if not (made.others or tables) and made.unknown.isdisjoint(not_made):
        return down
    choice = _Choice(migration, not_made, made, tables or {})
    for step in down.steps:
        undecided = choice.take(step)
        if undecided is not None:
            return undecided
    return choice.section(down)


class _Choice:
    """The down steps on their way: those that run, and those that a guard leaves out."""

    def __init__(
        self,
        migration: Migration,
        not_made: Mapping[int, NotMade],
        made: _Made,
        tables: Mapping[str, int],
    ) -> None:
        self._dialect = migration.dialect
        self._steps = {step.number: step for step in migration.up.steps}
        self._not_made = not_made
        self._made = made
        self._tables = tables
        self._chosen: list[Step] = []
        self._every: set[Effect] = set()
        self._undone: set[Effect] = set()
        self._last: tuple[Step, int] | None = None
        self._never: dict[Effect, int] = {}

    def take(self, step: Step) -> Undecided | None:
        """Choose the next down step, or say why nobody can."""
        found = _effects_of(step, self._dialect)
        if found is None:
            return self._undecided(step, min(self._not_made or self._tables.values()))
        others = [self._other(one, step) for one in found]
        other = next((number for number in others if number is not None), None)
        self._every |= found
        if other is None:
            unknown = [
                number
                for number in sorted(self._made.unknown & self._not_made.keys())
                if not self._not_made[number].parts
            ]
            if found and unknown and not any(map(self._made.made, found)):
                return self._undecided(step, unknown[0])
            self._undone |= found
        elif None in others or any(
            self._made.made(one) and self._gone(one, step) is None for one in found
        ):
            return self._undecided(step, other)
        else:
            self._never |= {one: other for one in found if one.does == "makes"}
            self._last = step, other
            text = _why(self._steps[other], self._not_made.get(other, FOUND))
            guard = SkipIf(kind="not_made", subject="", text=text, up_step=other)
            step = msgspec.structs.replace(step, skip_if=guard)
        self._chosen.append(step)
        return None

    def section(self, down: Section) -> Section | Undecided:
        """The down section; undecided where something was to go with a table or a column that is not dropped."""
        stays = (
            one
            for one in self._made.landed
            if (_covered(one, self._every) or self._in_column(one))
            and not _covered(one, self._undone)
        )
        if self._last is not None and any(stays):
            return self._undecided(*self._last)
        return msgspec.structs.replace(down, steps=tuple(self._chosen))

    def _other(self, one: Effect, step: Step) -> int | None:
        for number in (
            self._gone(one, step),
            self._made.other(one),
            self._made.within(one, self._tables),
        ):
            if number is not None:
                return number
        return None

    def _gone(self, one: Effect, step: Step) -> int | None:
        """The up step that had nothing to drop, where this acts on what no down step makes again."""
        for never, number in self._never.items():
            if never.space == "table" and one.table == never.name:
                return number
            rows = (one.space, one.table) == ("rows", never.table) and never.space == "column"
            if rows and _names(step, never.name):
                return number
        return None

    def _in_column(self, one: Effect) -> bool:
        """Whether these rows were changed in a column that was to be dropped."""
        if (one.space, one.does) != ("rows", "changes"):
            return False
        dropped = [
            each.name for each in self._every if each.space == "column" and each.does == "takes"
        ]
        return any(
            one in (_effects_of(step, self._dialect) or ()) and _names(step, name)
            for step in self._steps.values()
            for name in dropped
        )

    def _undecided(self, step: Step, number: int) -> Undecided:
        up = self._steps[number]
        return Undecided(step, up, _why(up, self._not_made.get(number, FOUND)))


def _names(step: Step, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", step.readable, re.IGNORECASE) is not None


FOUND: Final = NotMade("found")
SKIPPED: Final = NotMade("skipped")


def with_sync(migration: Migration) -> Migration:
    """The migration with the statements of its section sync as further up steps."""
    steps = list(migration.up.steps)
    for step in migration.sync:
        steps.append(msgspec.structs.replace(step, number=len(steps) + 1))
    return msgspec.structs.replace(
        migration, up=msgspec.structs.replace(migration.up, steps=tuple(steps))
    )


def acted_on(migration: Migration) -> frozenset[int]:
    """The up steps about whose objects a down step is."""
    down = migration.down.steps if migration.down else ()
    downs = [_effects_of(step, migration.dialect) or frozenset() for step in down]
    return frozenset(
        step.number
        for step in migration.up.steps
        if any(_meet(_effects_of(step, migration.dialect) or frozenset(), one) for one in downs)
    )


def may_have_made_nothing(migration: Migration) -> bool:
    """Whether an up step may have been skipped on a tenant, have found its object or its rows there, or nothing."""
    return bool(migration.sync) or any(
        step.skip_if is not None or _may_find(step, migration.dialect)
        for step in migration.up.steps
    )


def _may_find(step: Step, dialect: DialectName) -> bool:
    kind = dialect_of(dialect).classify(step.readable)
    return keeps_what_it_finds(step, dialect) or kind.kind == "dml" or bool(guarded(kind))


def keeps_what_it_finds(step: Step, dialect: DialectName) -> bool:
    """Whether the step makes nothing where its object is there; CREATE OR REPLACE makes it anew."""
    kind = dialect_of(dialect).classify(step.readable)
    return kind.may_find and not kind.replaces


def _effects_of(step: Step, dialect: DialectName) -> Effects | None:
    return effects(dialect_of(dialect).classify(step.readable))


def _why(step: Step, not_made: NotMade) -> str:
    found = {
        "skipped": "was skipped",
        "found": "found its object there already",
        "already": "had nothing to do for "
        + ", ".join(sorted(f"{one.kind} {one.name}" for one in not_made.parts)),
        "rows": f"found {not_made.rows} of its rows there already",
    }
    return f"up step {step.number} ({step.name}) {found[not_made.why]}"


def _made(migration: Migration, not_made: Mapping[int, NotMade]) -> _Made:
    """What an earlier step of the same migration has made or dropped is the migration's, whichever step finds it
    so.
    """
    landed: set[Effect] = set()
    others: dict[int, Effects] = {}
    unknown: set[int] = set()
    for step in migration.up.steps:
        kind = dialect_of(migration.dialect).classify(step.readable)
        found, whole = readable_effects(kind)
        if not whole:
            unknown.add(step.number)
        one = not_made.get(step.number)
        left = _left(found, one, kind) if one is not None and (whole or one.parts) else frozenset()
        own = frozenset(
            effect for effect in left if one and any(_own(effect, up, one) for up in landed)
        )
        if left - own:
            others[step.number] = left - own
        if whole and (one is None or one.parts or one.partly):
            landed |= found - left
    return _Made(landed, others, frozenset(unknown))


def _left(found: Effects, one: NotMade, kind: StatementKind) -> Effects:
    """What of a step's effects it has not made."""
    if one.why == "rows":
        return frozenset(effect._replace(does="keeps") for effect in found)
    return frozenset(effect for effect in found if not one.parts or effect.part in one.parts)


def _own(left: Effect, up: Effect, one: NotMade) -> bool:
    """Whether an earlier step's effect `up` is why `left` was already so."""
    if one.why == "skipped":
        return up.does == "makes" and up.space != "rows" and _same(left, up)
    if up.space == "table" and up.name == left.table and up.does != "changes":
        return True
    return up.space != "rows" and _same(left, up)


def _meet(some: Collection[Effect], others: Collection[Effect]) -> bool:
    return any(_same(left, right) for left in some for right in others)


def _same(left: Effect, right: Effect) -> bool:
    tables = {left.table, right.table} - {""}
    return (left.space, left.name) == (right.space, right.name) and len(tables) < 2


def _undoes(down: Effect, up: Effect) -> bool:
    """Whether this of a down step may undo that of an up step: to drop undoes to make, and the other way round."""
    if not _same(down, up):
        return False
    if up.does == "keeps":
        return down.does == "takes"
    if up.space == "rows":
        return (down.does, up.does) != ("takes", "changes")
    return down.does == "changes" or down.does != up.does


def _covered(effect: Effect, undone: Collection[Effect]) -> bool:
    """Whether it is undone itself, or goes with its table."""
    return any(
        _same(effect, other) or (other.space == "table" and other.name == effect.table)
        for other in undone
    )
