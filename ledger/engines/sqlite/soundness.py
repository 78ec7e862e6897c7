"""Whether a SQLite database is sound, also where its schema uses what only the application has.

SQLite refuses to check an index whose collation or function it does not know. Such a
database is no damaged one: what can be checked without them is.

Invariant: reads only, and leaves nothing defined on the connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from ledger.dialects.sqlite.syntax import SYNTAX
from ledger.engines.sqlite.schema.ddl import quoted

TABLES: Final = "SELECT name FROM main.sqlite_master WHERE type = 'table'"
DEFINITIONS: Final = "SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL"
FUNCTIONS: Final = "SELECT name FROM pragma_function_list"
STRUCTURE: Final = "PRAGMA main.quick_check(1)"

_NOT_KNOWN: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_ERROR_MISSING_COLLSEQ})
"""What SQLite says where the schema uses a name that the connection has not, among other things."""


def find_damage(database: sqlite3.Connection, *, most: int, quick: bool = False) -> tuple[str, ...]:
    """What integrity_check (or quick_check) finds, at most so many; empty for a sound database.

    Raises sqlite3.Error where the database cannot even be checked.
    """
    pragma = "quick_check" if quick else "integrity_check"
    try:
        return _found(database, f"PRAGMA main.{pragma}({most})")
    except sqlite3.OperationalError as error:
        unknown = _unknown(database)
        if error.sqlite_errorcode not in _NOT_KNOWN or not unknown:
            raise
    found: list[str] = []
    for (name,) in database.execute(TABLES).fetchall():
        try:
            found += _found(database, f"PRAGMA main.{pragma}({quoted(name)})")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in _NOT_KNOWN:
                raise
    with _stand_ins(database, unknown) as used:
        # Pages are checked before rows: what is found before a stand-in is used does not depend on it.
        first = _found(database, STRUCTURE)
        found += () if used else first
    return tuple(dict.fromkeys(found))[:most]


def _found(database: sqlite3.Connection, sql: str) -> tuple[str, ...]:
    rows = [str(row[0]) for row in database.execute(sql).fetchall()]
    return () if rows == ["ok"] else tuple(rows)


class _Unknown(NamedTuple):
    """A name that the schema uses and the application alone has."""

    kind: Literal["collation", "function"]
    name: str


def _unknown(database: sqlite3.Connection) -> frozenset[_Unknown]:
    """Names in the schema that the connection does not know; some may be no collation or function."""
    collations: set[str] = set()
    functions: set[str] = set()
    for (sql,) in database.execute(DEFINITIONS).fetchall():
        for token, after in pairwise(SYNTAX.tokens(sql)):
            if token.upper == "COLLATE":
                collations.add(after.text.strip("'").lower())
            elif after.text == "(" and token.kind in ("word", "quoted"):
                functions.add(token.text.lower())
    functions -= {row[0].lower() for row in database.execute(FUNCTIONS)}
    return frozenset(
        [
            *(_Unknown("collation", name) for name in collations if not _collates(database, name)),
            *(_Unknown("function", name) for name in functions),
        ]
    )


def _collates(database: sqlite3.Connection, name: str) -> bool:
    """Asked by using it: SQLite also lists a collation that it has only searched for."""
    try:
        database.execute(f"SELECT 'a' < 'b' COLLATE {quoted(name)}").fetchall()
    except sqlite3.OperationalError:
        return False
    return True


@contextmanager
def _stand_ins(
    database: sqlite3.Connection, unknown: Iterable[_Unknown]
) -> Iterator[set[_Unknown]]:
    """Define each unknown name for the duration of the block; the set holds those that were used."""
    removals: list[Callable[[], None]] = []
    used: set[_Unknown] = set()
    try:
        removals += [_define(database, name, used) for name in unknown]
        yield used
    finally:
        for remove in removals:
            remove()


def _define(
    database: sqlite3.Connection, unknown: _Unknown, used: set[_Unknown]
) -> Callable[[], None]:
    """Define a stand-in that adds itself to `used`, and return what removes it."""
    kind, name = unknown
    if kind == "collation":

        def collate(left: str, right: str) -> int:
            used.add(unknown)
            return (left > right) - (left < right)

        database.create_collation(name, collate)
        return lambda: database.create_collation(name, None)
    database.create_function(name, -1, lambda *_: used.add(unknown), deterministic=True)
    return lambda: database.create_function(name, -1, None)
