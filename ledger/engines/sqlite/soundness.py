"""Whether a SQLite database is sound, also where its schema uses what only the application has.

SQLite refuses to check an index whose collation or function it does not know. Such a
database is no damaged one: what can be checked without them is.

Invariant: reads only, and leaves nothing defined on the connection.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TABLES: Final = "SELECT name FROM main.sqlite_master WHERE type = 'table'"
STRUCTURE: Final = "PRAGMA main.quick_check(1)"

_UNKNOWN: Final = re.compile(
    r"no such collation sequence: (?P<collation>.+)"
    r"|(?:unknown|no such) function: (?P<function>.+?)(?:\(\))?"
)
_STRUCTURAL: Final = "***"
"""How findings about pages begin; they come before those about rows."""

MOST_UNKNOWN: Final = 100


def find_damage(database: sqlite3.Connection, *, most: int, quick: bool = False) -> tuple[str, ...]:
    """What integrity_check (or quick_check) finds, at most so many; empty for a sound database.

    Raises sqlite3.Error where the database cannot even be checked.
    """
    pragma = "quick_check" if quick else "integrity_check"
    try:
        return _found(database, f"PRAGMA main.{pragma}({most})")
    except sqlite3.OperationalError as error:
        if _unknown(error) is None:
            raise
    found: list[str] = []
    for (name,) in database.execute(TABLES).fetchall():
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            found += _found(database, f"PRAGMA main.{pragma}({quoted})")
        except sqlite3.OperationalError as error:
            if _unknown(error) is None:
                raise
    with _stand_ins(database):
        # The order of rows means nothing now; the pages do.
        found += [one for one in _found(database, STRUCTURE) if one.startswith(_STRUCTURAL)]
    return tuple(dict.fromkeys(found))[:most]


def _found(database: sqlite3.Connection, sql: str) -> tuple[str, ...]:
    rows = [str(row[0]) for row in database.execute(sql).fetchall()]
    return () if rows == ["ok"] else tuple(rows)


def _unknown(error: sqlite3.Error) -> tuple[str, str] | None:
    """What the application has and we have not: its kind and its name."""
    match = _UNKNOWN.fullmatch(str(error))
    if match is None or match.lastgroup is None:
        return None
    return match.lastgroup, match[match.lastgroup]


@contextmanager
def _stand_ins(database: sqlite3.Connection) -> Iterator[None]:
    """Something under each name that is not known, as long as the block lasts."""
    removals: list[Callable[[], None]] = []
    try:
        for _ in range(MOST_UNKNOWN):
            try:
                database.execute(STRUCTURE).fetchall()
                break
            except sqlite3.OperationalError as error:
                unknown = _unknown(error)
                if unknown is None:
                    raise
                removals.append(_define(database, *unknown))
        yield
    finally:
        for remove in removals:
            remove()


def _define(database: sqlite3.Connection, kind: str, name: str) -> Callable[[], None]:
    """Define a stand-in, and return what removes it."""
    if kind == "collation":
        database.create_collation(name, lambda one, other: (one > other) - (one < other))
        return lambda: database.create_collation(name, None)
    database.create_function(name, -1, lambda *_: None, deterministic=True)
    return lambda: database.create_function(name, -1, None)
