"""What maintenance asks a SQLite database: its tables and keys, which rows are old, orphans, referred to.

Invariant: nothing here writes; names are quoted, values are parameters.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from ledger.dialects.steps import MARKER_TABLE
from ledger.engines.maintain import MILLISECONDS_FROM, Conditions, Reference
from ledger.engines.sqlite.schema.ddl import quoted

JULIAN_OF_1970: Final = 2440587.5
SECONDS_A_DAY: Final = 86400

OWN_TABLES: Final = """
SELECT name FROM main.sqlite_master
WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND sql NOT LIKE 'CREATE VIRTUAL%'
ORDER BY name
"""
COLUMNS: Final = "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid"
FOREIGN_KEYS: Final = """
SELECT id, "table", "from", "to", on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq
"""
IS_OLD: Final = """(CASE typeof({c})
  WHEN 'text' THEN julianday({c}) < :days
  WHEN 'integer' THEN {c} < :seconds OR ({c} >= :from AND {c} < :millis)
  WHEN 'real' THEN CASE WHEN {c} BETWEEN 1721060 AND 5373484 THEN {c} < :days
    ELSE {c} < :seconds OR ({c} >= :from AND {c} < :millis) END
  ELSE 0 END)"""
"""Text as SQLite's own date functions read it; numbers as Unix seconds or milliseconds, or Julian days."""

NO_TIME: Final = "({c} IS NOT NULL AND typeof({c}) IN ('text', 'blob') AND julianday({c}) IS NULL)"


def own_tables(database: sqlite3.Connection) -> tuple[str, ...]:
    """The tenant's ordinary tables, the marker apart."""
    return tuple(name for (name,) in database.execute(OWN_TABLES) if name != MARKER_TABLE)


def key_of(database: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """The primary key's columns, in its order; empty without one."""
    rows = [row for row in database.execute(COLUMNS, (table,)) if row[1]]
    return tuple(name for name, _ in sorted(rows, key=lambda row: int(row[1])))


def without_rowid(database: sqlite3.Connection, reference: Reference) -> bool:
    """Whether the child's rows have no number of their own."""
    try:
        database.execute(f"SELECT rowid FROM main.{quoted(reference.table)} LIMIT 0")  # noqa: S608
    except sqlite3.OperationalError:
        return True
    return False


def references(database: sqlite3.Connection) -> tuple[Reference, ...]:
    """Every foreign key that the tenant's tables declare."""
    tables = own_tables(database)
    parents = {name.lower(): name for name in tables}
    found: list[Reference] = []
    for table in tables:
        keys: dict[int, list[tuple[str, str, str | None, str]]] = {}
        for number, parent, column, other, on_delete in database.execute(FOREIGN_KEYS, (table,)):
            keys.setdefault(number, []).append((parent, column, other, on_delete))
        for rows in (keys[number] for number in sorted(keys)):
            found.append(_reference(database, table, rows, parents))
    return tuple(found)


def _reference(
    database: sqlite3.Connection,
    table: str,
    rows: Sequence[tuple[str, str, str | None, str]],
    parents: dict[str, str],
) -> Reference:
    parent = parents.get(rows[0][0].lower(), rows[0][0])
    columns = tuple(row[1] for row in rows)
    missing, others = "", tuple(row[2] or "" for row in rows)
    if parent.lower() not in parents:
        missing = f"its parent {parent} is not there"
    else:
        have = {name.lower(): name for name, _ in database.execute(COLUMNS, (parent,))}
        # Without columns a reference means the parent's primary key.
        named = others if all(others) else key_of(database, parent)
        if len(named) != len(columns) or any(column.lower() not in have for column in named):
            missing = f"its parent {parent} has no such columns"
        others = tuple(have.get(column.lower(), column) for column in named)
    return Reference(
        name=f"{table}({', '.join(columns)})",
        table=table,
        columns=columns,
        parent=parent,
        parent_columns=others,
        on_delete=rows[0][3].upper(),
        missing=missing,
    )


def times(before: datetime) -> dict[str, object]:
    """The moment as the parameters of IS_OLD."""
    seconds = before.timestamp()
    return {
        "days": seconds / SECONDS_A_DAY + JULIAN_OF_1970,
        "seconds": seconds,
        "millis": seconds * 1000,
        "from": MILLISECONDS_FROM,
    }


def named(table: str) -> str:
    """A table of the tenant itself, quoted."""
    return f"main.{quoted(table)}"


CONDITIONS: Final = Conditions(quoted, named)
