"""PRAGMA statements, read by SQLite itself: which one it is, and what its value means.

SQLite takes values in many spellings (`-1`, `full` and `256` are OFF for foreign_keys), so that
nothing here knows them: a statement is compiled, or run on a database in memory, and SQLite is
asked what became of it. Invariant: nothing but memory is opened, and only a PRAGMA is ever run.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache
from typing import Final, NamedTuple

from ledger.dialects.sqlite.syntax import SYNTAX

_WORDS: Final = frozenset({"PRAGMA", "EXPLAIN"})
"""A flag is set while the statement is compiled, and so by EXPLAIN PRAGMA too."""

_BASES: Final = {
    "foreign_keys": ("0", "1"),
    "page_size": ("1024", "2048"),
    "auto_vacuum": ("0", "1"),
    "encoding": ("'UTF-8'", "'UTF-16le'"),
}
"""Two values of each pragma: what a statement leaves on both is what it sets."""


class Pragma(NamedTuple):
    """`name` is in small letters. `sets` is false for one that only asks."""

    name: str
    sets: bool


@lru_cache(maxsize=2048)
def read_pragma(sql: str) -> Pragma | None:
    """Which PRAGMA the statement is; None for any other statement and for what SQLite refuses."""
    if SYNTAX.cursor(sql).peek().upper not in _WORDS:
        return None
    found: list[Pragma] = []

    def authorize(action: int, name: str | None, value: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_PRAGMA and name is not None:
            found.append(Pragma(name.lower(), value is not None))
        return sqlite3.SQLITE_DENY

    with closing(_memory(sql)) as database:
        database.set_authorizer(authorize)
        try:
            database.execute(sql)
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return found[0] if found else None
    return None


@lru_cache(maxsize=2048)
def value_set(sql: str) -> object:
    """The value that the statement gives its pragma, as SQLite then says it.

    None where it sets none (it asks, or SQLite ignores or refuses the value), and for pragmas
    other than foreign_keys, page_size, auto_vacuum and encoding.
    """
    pragma = read_pragma(sql)
    if pragma is None or not pragma.sets or pragma.name not in _BASES:
        return None
    left = set()
    for base in _BASES[pragma.name]:
        with closing(_memory(sql)) as database:
            database.execute(f"PRAGMA {pragma.name} = {base}")
            try:
                database.execute(sql).fetchall()
            except sqlite3.Error:
                return None
            left.add(database.execute(f"PRAGMA {pragma.name}").fetchone()[0])
    return left.pop() if len(left) == 1 else None


def switches_foreign_keys(sql: str) -> bool | None:
    """What the statement makes of foreign_keys; None if it leaves them as they are."""
    pragma = read_pragma(sql)
    if pragma is None or pragma.name != "foreign_keys":
        return None
    value = value_set(sql)
    return None if value is None else bool(value)


@lru_cache(maxsize=64)
def enforces_foreign_keys(statements: tuple[str, ...]) -> bool:
    """Whether foreign keys are enforced on a connection once these statements have run on it."""
    with closing(sqlite3.connect(":memory:")) as database:
        enforced = bool(database.execute("PRAGMA foreign_keys").fetchone()[0])
    for statement in statements:
        switched = switches_foreign_keys(statement)
        enforced = enforced if switched is None else switched
    return enforced


def _memory(sql: str) -> sqlite3.Connection:
    """An empty database, with another one under the schema's name that the PRAGMA names."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    cursor = SYNTAX.cursor(sql)
    cursor.take("EXPLAIN")
    cursor.take("QUERY", "PLAN")
    cursor.next()
    first = cursor.next()
    schema = first.text[1:-1].replace("''", "'") if first.kind == "string" else first.text
    if cursor.take_other(".") and schema.lower() not in ("main", "temp"):
        database.execute("ATTACH ':memory:' AS ?", (schema,))
    return database
