"""What maintenance asks a MySQL or MariaDB database: keys, and which rows are old, orphans, referred to.

Invariant: nothing here writes; names are quoted, values are parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from ledger.drivers.mysql import quote_identifier as quoted
from ledger.engines.maintain import MILLISECONDS_FROM, Archivable, Conditions

FOREIGN_KEYS: Final = """
SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME,
       k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE
FROM information_schema.KEY_COLUMN_USAGE k
JOIN information_schema.REFERENTIAL_CONSTRAINTS r
  ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME
 AND r.TABLE_NAME = k.TABLE_NAME
WHERE {condition}
ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION
"""
DECLARED_HERE: Final = "k.TABLE_SCHEMA = DATABASE()"
REFERRING_HERE: Final = "k.REFERENCED_TABLE_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_NAME = %s"
TABLE_IS_THERE: Final = """
SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
"""
COLUMNS: Final = """
SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION
"""
KEY: Final = """
SELECT COLUMN_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND INDEX_NAME = 'PRIMARY'
ORDER BY SEQ_IN_INDEX
"""
DATES: Final = frozenset({"date", "datetime", "timestamp"})
NUMBERS: Final = frozenset({"int", "bigint", "mediumint", "smallint", "decimal", "double"})


def place(schema: str, table: str, here: str) -> str:
    """The table's name, after its database's and a dot where that is another one."""
    return table if schema == here else f"{schema}.{table}"


def named(place: str) -> str:
    """A table as `place` wrote it, quoted. A dot in a table's own name is not to be met with."""
    return ".".join(quoted(part) for part in place.split(".", 1))


def places(rows: Sequence[Sequence[object]]) -> str:
    """`(%s, %s), (%s, %s)`: one row value for each."""
    return ", ".join("(" + ", ".join("%s" for _ in row) + ")" for row in rows)


def is_old(what: Archivable, before: datetime) -> tuple[str, list[object]]:
    """The condition for a row `t` to be old, and its values."""
    column = f"t.{quoted(what.column)}"
    if what.kind == "date":
        return f"{column} < %s", [before.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")]
    seconds = before.timestamp()
    return (
        f"({column} < %s OR ({column} >= {MILLISECONDS_FROM} AND {column} < %s))",
        [seconds, seconds * 1000],
    )


CONDITIONS: Final = Conditions(quoted, named)
