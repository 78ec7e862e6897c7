"""Which down steps undo a migration that has landed in part.

Invariant: a down step is chosen only where it is certain that what it undoes has landed:
one that would drop what another step was to make, and has not made, is left out, since what
stands there under that name is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from ledger.dialects import Dialect, dialect_of
from ledger.dialects.tokens import Cursor, Token
from ledger.scripts.model import Migration, Section, Step


class Effect(NamedTuple):
    """What a statement makes, changes, or takes away. `space`: table, view, column, key, rows, trigger …

    Indexes and constraints share `key`. `table` is that of a column or a key, where it is told.
    """

    space: str
    name: str
    table: str = ""


Effects = frozenset[Effect]

_OBJECTS: Final = {
    "TABLE": "table", "TABLES": "table", "VIEW": "view", "INDEX": "key", "TRIGGER": "trigger",
    "PROCEDURE": "procedure", "FUNCTION": "function", "EVENT": "event", "SEQUENCE": "sequence",
}  # fmt: skip
_KEYS: Final = frozenset({"INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "CHECK"})
_ROWS: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "TRUNCATE"})
_OF_ROWS: Final = frozenset(
    {"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM", "TABLE", "ONLY"}
)
_NOTHING: Final = frozenset({"SELECT", "SET", "SHOW", "DO", "ANALYZE", "PRAGMA", "BEGIN", "COMMIT"})
MOST_WORDS: Final = 12
"""So many words may stand between CREATE and the kind of object (DEFINER, ALGORITHM …)."""


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
        found = effects(step.sql, dialect)
        if found is not None:
            (landed if step.number in ran else others).update(found)
        elif step.number in ran:
            return None
        else:
            unknown = True
    chosen: list[Step] = []
    undone: set[Effect] = set()
    for step in down.steps:
        found = effects(step.sql, dialect)
        if found is None:
            return None
        of_landed, of_others = _meet(found, landed), _meet(found, others)
        if found and (of_landed == of_others or (unknown and not of_landed)):
            return None
        if of_landed or not found:
            chosen.append(msgspec.structs.replace(step, number=len(chosen) + 1))
            undone |= found
    if not all(_covered(one, undone) for one in landed):
        return None
    return msgspec.structs.replace(down, steps=tuple(chosen))


def _meet(some: Collection[Effect], others: Collection[Effect]) -> bool:
    return any(_same(one, other) for one in some for other in others)


def _same(one: Effect, other: Effect) -> bool:
    tables = {one.table, other.table} - {""}
    return (one.space, one.name) == (other.space, other.name) and len(tables) < 2


def _covered(one: Effect, undone: Collection[Effect]) -> bool:
    """Whether it is undone itself, or goes with its table."""
    return any(
        _same(one, other) or (other.space == "table" and other.name == one.table)
        for other in undone
    )


def effects(sql: str, dialect: Dialect) -> Effects | None:
    """What one statement acts on, names in lower case; None where that cannot be told."""
    cursor = dialect.syntax.cursor(sql)
    word = cursor.next().upper
    if word in _NOTHING:
        return frozenset()
    if word in ("CREATE", "DROP"):
        return _object(cursor, drops=word == "DROP")
    if word in _ROWS:
        if cursor.take("OR"):
            cursor.next()
        while cursor.take_any(_OF_ROWS):
            pass
        table = _bare(cursor.name())
        return frozenset({Effect("rows", table, table)}) if table else None
    if word == "RENAME":
        return _renamed(cursor)
    while word == "ALTER" and cursor.take_any(frozenset({"ONLINE", "IGNORE"})):
        pass
    if word == "ALTER" and cursor.take("TABLE"):
        cursor.guard()
        table = _bare(cursor.name())
        found: set[Effect] = set()
        for clause in cursor.clauses():
            part = _clause(clause, table)
            if part is None:
                return None
            found |= part
        return frozenset(found)
    return None


def _object(cursor: Cursor, *, drops: bool) -> Effects | None:
    for _ in range(MOST_WORDS):
        token = cursor.next()
        if token.upper in ("TEMP", "TEMPORARY"):
            return frozenset()
        if token.upper in _OBJECTS:
            break
    else:
        return None
    space = _OBJECTS[token.upper]
    cursor.guard()
    names = [_bare(cursor.name())]
    while drops and cursor.take_other(","):
        names.append(_bare(cursor.name()))
    table = ""
    if space == "key" or (space == "trigger" and not drops):
        table = _bare(cursor.name()) if cursor.skip_to("ON") else ""
    if not all(names):
        return None
    return frozenset(Effect(space, name, name if space == "table" else table) for name in names)


def _renamed(cursor: Cursor) -> Effects | None:
    cursor.take_any(frozenset({"TABLE", "TABLES"}))
    cursor.guard()
    found: set[Effect] = set()
    while True:
        old = _bare(cursor.name())
        if not old or not cursor.skip_to("TO"):
            return None
        found |= {Effect("table", old, old), *_table(_bare(cursor.name()))}
        if not cursor.take_other(","):
            return frozenset(found)


def _table(name: str) -> Iterator[Effect]:
    yield Effect("table", name, name)


def _clause(clause: list[Token], table: str) -> Effects | None:
    """What one clause of ALTER TABLE acts on."""
    words = _Words(clause)
    verb = words.next()
    if verb in ("ADD", "DROP"):
        if words.take("PRIMARY", "KEY"):
            return frozenset({Effect("key", "primary key", table)})
        if words.take("FOREIGN", "KEY"):
            return words.named("key", table)
        space = "column"
        while words.peek() in _KEYS:
            words.next()
            space = "key"
        if space == "column":
            words.take("COLUMN")
        return words.named(space, table)
    if verb in ("MODIFY", "ALTER"):
        words.take("COLUMN")
        return None if words.peek() in _KEYS else words.named("column", table)
    if verb == "CHANGE":
        words.take("COLUMN")
        return words.named("column", table, several=True)
    if verb == "RENAME":
        if words.take("COLUMN"):
            return words.named("column", table, several=True)
        if words.take("INDEX") or words.take("KEY"):
            return words.named("key", table, several=True)
        if words.peek() in ("TO", "AS"):
            words.next()
        new = words.name()
        return frozenset({*_table(table), *_table(new)}) if new else None
    return None


class _Words:
    """A clause's tokens, taken one by one."""

    def __init__(self, clause: list[Token]) -> None:
        self._tokens = clause
        self._at = 0

    def peek(self) -> str:
        """The next word in upper case; empty for anything else."""
        return self._tokens[self._at].upper if self._at < len(self._tokens) else ""

    def next(self) -> str:
        """Take it."""
        word = self.peek()
        self._at += 1
        return word

    def take(self, *words: str) -> bool:
        """Take these words if they come next."""
        there = [token.upper for token in self._tokens[self._at : self._at + len(words)]]
        if there != list(words):
            return False
        self._at += len(words)
        return True

    def name(self) -> str:
        """Take a name, without its qualifier, in lower case; empty if none comes."""
        name = ""
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind not in ("word", "quoted"):
                break
            name = token.text
            self._at += 1
            if self._at >= len(self._tokens) or self._tokens[self._at].text != ".":
                break
            self._at += 1
        return name.lower()

    def named(self, space: str, table: str, *, several: bool = False) -> Effects | None:
        """The thing that is named next; with `several` and the one after it (and after a TO)."""
        if not self.take("IF", "NOT", "EXISTS"):
            self.take("IF", "EXISTS")
        names = [self.name()]
        if several:
            self.take("TO")
            names.append(self.name())
        return frozenset(Effect(space, name, table) for name in names) if all(names) else None


def _bare(name: str) -> str:
    return name.rpartition(".")[2].lower()
