"""Which down steps undo a migration that has landed in part.

Invariant: a down step is chosen only where it is certain that what it undoes has landed:
one that would drop what another step was to make, and has not made, is left out, since what
stands there under that name is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.kinds import Clause, StatementKind
from ledger.scripts.model import Migration, Section, Step


class Effect(NamedTuple):
    """What a statement makes, changes, or takes away. `space`: table, view, column, key, rows, trigger …

    Indexes and constraints share `key`. `table` is that of a column or a key, where it is told.
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


def undoing(migration: Migration, ran: Collection[int]) -> Section | None:
    """The part of a bound migration's down section that undoes the up steps `ran`, numbered anew.

    None where that cannot be told from the statements.
    """
    down = migration.down
    if down is None or migration.python is not None or migration.sync:
        return None
    dialect = dialect_of(migration.dialect)
    landed: set[Effect] = set()
    others: set[Effect] = set()
    unknown = False
    for step in migration.up.steps:
        found = effects(dialect.classify(step.readable))
        if found is not None:
            (landed if step.number in ran else others).update(found)
        elif step.number in ran:
            return None
        else:
            unknown = True
    chosen: list[Step] = []
    undone: set[Effect] = set()
    for step in down.steps:
        found = effects(dialect.classify(step.readable))
        if found is None:
            return None
        of_landed, of_others = _meet(found, landed), _meet(found, others)
        if found and (of_landed == of_others or (unknown and not of_landed)):
            return None
        if of_landed or not found:
            chosen.append(msgspec.structs.replace(step, number=len(chosen) + 1))
            undone |= found
    if not all(_covered(effect, undone) for effect in landed):
        return None
    return msgspec.structs.replace(down, steps=tuple(chosen))


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
    """What one statement acts on, names in lower case; None where that cannot be told."""
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
