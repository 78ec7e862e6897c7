"""Which down steps undo a migration of which some up steps have made nothing.

Invariant: a down step is chosen only where it is certain that what it undoes was made by the
migration: what a step was to make and has not made, since it has not run, its guard held or
its object was there already, is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.kinds import Clause, StatementKind
from ledger.dialects.steps import DialectName, Section, SkipIf, Step
from ledger.scripts.model import Migration


class Effect(NamedTuple):
    """What a statement makes, changes, or takes away. `space`: table, view, column, key, rows, trigger …

    Indexes and constraints share `key`. `table` is that of a column or a key, where it is known.
    """

    space: str
    name: str
    table: str = ""


Effects = frozenset[Effect]

_SPACES: Final = {
    "index": "key",
    **{
        name: name
        for name in ("table", "view", "trigger", "procedure", "function", "event", "sequence")
    },
}
_KEYS: Final = frozenset(
    {"INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "CHECK", "FOREIGN"}
)
_NOTHING: Final = frozenset({"SELECT", "SET", "SHOW", "DO", "ANALYZE", "PRAGMA", "BEGIN", "COMMIT"})


NotMade = Literal["skipped", "found"]
"""Why an up step made nothing: its guard held, or its IF NOT EXISTS found the object there."""

_WHY: Final[dict[NotMade, str]] = {
    "skipped": "was skipped",
    "found": "found its object there already",
}


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

    def other(self, found: Effects) -> int | None:
        """The first step that has not made what a statement acts on."""
        return next((number for number, one in self.others.items() if _meet(found, one)), None)


def undoing(migration: Migration, ran: Collection[int]) -> Section | None:
    """The part of a bound migration's down section that undoes the up steps `ran`, numbered anew.

    None where the statements do not show it.
    """
    down = migration.down
    if down is None or migration.python is not None or migration.sync:
        return None
    made = _made(migration, ran)
    if not made.unknown.isdisjoint(ran):
        return None
    chosen: list[Step] = []
    undone: set[Effect] = set()
    for step in down.steps:
        found = _effects_of(step, migration.dialect)
        if found is None:
            return None
        of_landed, of_others = _meet(found, made.landed), made.other(found) is not None
        if found and (of_landed == of_others or (made.unknown and not of_landed)):
            return None
        if of_landed or not found:
            chosen.append(msgspec.structs.replace(step, number=len(chosen) + 1))
            undone |= found
    if not all(_covered(effect, undone) for effect in made.landed):
        return None
    return msgspec.structs.replace(down, steps=tuple(chosen))


def sparing(migration: Migration, not_made: Mapping[int, NotMade]) -> Section | Undecided | None:
    """The down section of a bound migration whose up steps `not_made` made nothing on this tenant.

    A guard keeps a down step from running that would undo just these.
    Undecided where a down step may undo one of these together with other things.
    """
    down = migration.down
    if down is None or not not_made:
        return down
    steps = {step.number: step for step in migration.up.steps}

    def undecided(step: Step, number: int) -> Undecided:
        return Undecided(step, steps[number], _why(steps[number], not_made[number]))

    made = _made(migration, steps.keys() - not_made.keys())
    if not made.others and made.unknown.isdisjoint(not_made):
        return down
    chosen: list[Step] = []
    every: set[Effect] = set()
    undone: set[Effect] = set()
    last: tuple[Step, int] | None = None
    for step in down.steps:
        found = _effects_of(step, migration.dialect)
        if found is None:
            return undecided(step, min(not_made))
        of_landed, other = _meet(found, made.landed), made.other(found)
        every |= found
        if other is None:
            unknown = sorted(made.unknown & not_made.keys())
            if found and not of_landed and unknown:
                return undecided(step, unknown[0])
            undone |= found
        elif of_landed:
            return undecided(step, other)
        else:
            last = step, other
            text = _why(steps[other], not_made[other])
            guard = SkipIf(kind="not_made", subject="", text=text, up_step=other)
            step = msgspec.structs.replace(step, skip_if=guard)
        chosen.append(step)
    stays = (one for one in made.landed if _covered(one, every) and not _covered(one, undone))
    if last is not None and any(stays):
        # It was to go with a table that is not dropped.
        return undecided(*last)
    return msgspec.structs.replace(down, steps=tuple(chosen))


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
    downs = [_effects_of(step, migration.dialect) for step in down]
    return frozenset(
        step.number
        for step in migration.up.steps
        if any(_meet(_effects_of(step, migration.dialect) or (), one or ()) for one in downs)
    )


def may_have_made_nothing(migration: Migration) -> bool:
    """Whether an up step may have been skipped on a tenant, or have found its object there."""
    return bool(migration.sync) or any(
        step.skip_if is not None or keeps_what_it_finds(step, migration.dialect)
        for step in migration.up.steps
    )


def keeps_what_it_finds(step: Step, dialect: DialectName) -> bool:
    """Whether the step makes nothing where its object is there; CREATE OR REPLACE makes it anew."""
    kind = dialect_of(dialect).classify(step.readable)
    return kind.may_find and not kind.replaces


def _effects_of(step: Step, dialect: DialectName) -> Effects | None:
    return effects(dialect_of(dialect).classify(step.readable))


def _why(step: Step, not_made: NotMade) -> str:
    return f"up step {step.number} ({step.name}) {_WHY[not_made]}"


def _made(migration: Migration, ran: Collection[int]) -> _Made:
    """What an earlier step of the same migration has created is the migration's, whichever step finds it."""
    landed: set[Effect] = set()
    created: set[Effect] = set()
    others: dict[int, Effects] = {}
    unknown: set[int] = set()
    for step in migration.up.steps:
        kind = dialect_of(migration.dialect).classify(step.readable)
        found = effects(kind)
        if found is None:
            unknown.add(step.number)
        elif step.number in ran:
            landed |= found
            created |= found if kind.verb == "CREATE" else frozenset()
        elif found - created:
            others[step.number] = found - created
    return _Made(landed, others, frozenset(unknown))


def _meet(some: Collection[Effect], others: Collection[Effect]) -> bool:
    return any(_same(left, right) for left in some for right in others)


def _same(left: Effect, right: Effect) -> bool:
    tables = {left.table, right.table} - {""}
    return (left.space, left.name) == (right.space, right.name) and len(tables) < 2


def _covered(effect: Effect, undone: Collection[Effect]) -> bool:
    """Whether it is undone itself, or goes with its table."""
    return any(
        _same(effect, other) or (other.space == "table" and other.name == effect.table)
        for other in undone
    )


def effects(kind: StatementKind) -> Effects | None:
    """What one statement acts on, names in lower case; None where that is not known."""
    if kind.verb in _NOTHING:
        return None if kind.kind == "call" else frozenset()
    if kind.kind == "dml" or kind.verb == "TRUNCATE":
        table = _bare(kind.target)
        return frozenset({Effect("rows", table, table)}) if table else None
    if kind.verb in ("CREATE", "DROP") and kind.object in _SPACES:
        return frozenset() if kind.temporary else _object(kind)
    found: set[Effect] = set()
    if kind.object == "table" and kind.verb in ("RENAME", "ALTER"):
        names = [_bare(name) for pair in kind.renames for name in pair]
        if not all(names):
            return None
        found |= {Effect("table", name, name) for name in names}
        for clause in kind.clauses:
            part = _clause(clause, _bare(kind.target))
            if part is None:
                return None
            found |= part
        return frozenset(found)
    return None


def _object(kind: StatementKind) -> Effects | None:
    space = _SPACES[kind.object]
    names = [_bare(name) for name in kind.names]
    owner = _bare(kind.owner)
    if not all(names):
        return None
    return frozenset(Effect(space, name, name if space == "table" else owner) for name in names)


def _clause(clause: Clause, table: str) -> Effects | None:
    """What one clause of ALTER TABLE acts on; a rename of the table itself stands in `renames`."""
    verb, *rest = (*clause.words, "")
    name = clause.name.lower()
    if verb in ("ADD", "DROP") and "PRIMARY" in rest:
        return frozenset({Effect("key", "primary key", table)})
    if verb == "RENAME" and rest[0] in ("", "TO", "AS"):
        return frozenset()
    if not name or "PARTITION" in rest:
        return None
    key = not _KEYS.isdisjoint(rest)
    if verb in ("ADD", "DROP"):
        return frozenset({Effect("key" if key else "column", name, table)})
    if verb in ("MODIFY", "ALTER") and not key:
        return frozenset({Effect("column", name, table)})
    if verb in ("CHANGE", "RENAME") and clause.new:
        space = "key" if key else "column"
        return frozenset({Effect(space, name, table), Effect(space, clause.new.lower(), table)})
    return None


def _bare(name: str) -> str:
    return name.rpartition(".")[2].lower()
