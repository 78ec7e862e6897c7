"""The two workloads that every side runs, statement by statement the same.

P (SQLite): a table of 100 rows, then 3 ADD COLUMN, 3 CREATE TABLE and 9 CREATE
INDEX. W (MariaDB, MySQL): 6 InnoDB tables and 2 views. Invariant: ours, the raw
drivers and the peers all take their statements from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

VERSION = "001"
MIGRATION = "workload"
"""The one migration's version and name, as every side calls it."""

ROWS = 100


class Workload(NamedTuple):
    """`base` makes a tenant before it is timed; `statements` are timed; `expected` must be there after.

    `expected` names tables, indexes and views, and columns as `TABLE.COLUMN`.
    """

    name: str
    engine: str
    base: tuple[str, ...]
    statements: tuple[str, ...]
    expected: frozenset[str]

    def script(self) -> str:
        """All statements, each ended by a semicolon."""
        return "".join(f"{statement};\n" for statement in self.statements)


_P_BASE = (
    "CREATE TABLE assistants (id INTEGER PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL,"
    " model TEXT NOT NULL, created_at TEXT NOT NULL)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
    " INSERT INTO assistants SELECT i, 'assistant ' || i, 'owner ' || (i % 7), 'model-' || (i % 3),"
    " '2026-01-01T00:00:00Z' FROM n",
)

_P_COLUMNS = (
    ("category", "TEXT NOT NULL DEFAULT 'general'"),
    ("usage_count", "INTEGER NOT NULL DEFAULT 0"),
    ("rating", "REAL"),
)

_P_TABLES = ("favorites", "ratings", "presets")

_P_INDEXES = tuple(
    [("assistants", column) for column in ("category", "usage_count", "rating")]
    + [(table, column) for table in _P_TABLES for column in ("assistant_id", "owner")]
)


def _p() -> Workload:
    columns = [f"ALTER TABLE assistants ADD COLUMN {name} {kind}" for name, kind in _P_COLUMNS]
    tables = [
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, assistant_id INTEGER NOT NULL"
        " REFERENCES assistants (id), owner TEXT NOT NULL, note TEXT, created_at TEXT NOT NULL"
        " DEFAULT CURRENT_TIMESTAMP)"
        for table in _P_TABLES
    ]
    indexes = [
        f"CREATE INDEX idx_{table}_{column} ON {table} ({column})" for table, column in _P_INDEXES
    ]
    return Workload(
        name="P",
        engine="sqlite",
        base=_P_BASE,
        statements=(*columns, *tables, *indexes),
        expected=frozenset(
            [f"assistants.{name}" for name, _ in _P_COLUMNS]
            + list(_P_TABLES)
            + [f"idx_{table}_{column}" for table, column in _P_INDEXES]
        ),
    )


_W_TABLES = ("users", "sites", "posts", "comments", "terms", "links")
_W_VIEWS = (("user_sites", "users", "sites"), ("post_comments", "posts", "comments"))


def _w() -> Workload:
    tables = [
        f"CREATE TABLE {table} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,"
        " name VARCHAR(100) NOT NULL, body TEXT, created_at DATETIME NOT NULL DEFAULT"
        " CURRENT_TIMESTAMP, parent_id BIGINT UNSIGNED NOT NULL DEFAULT 0, PRIMARY KEY (id),"
        " KEY name (name), KEY parent (parent_id, created_at)) ENGINE=InnoDB DEFAULT"
        " CHARSET=utf8mb4"
        for table in _W_TABLES
    ]
    views = [
        f"CREATE VIEW {view} AS SELECT a.id, a.name, count(b.id) AS n FROM {left} a"
        f" LEFT JOIN {right} b ON b.parent_id = a.id GROUP BY a.id, a.name"
        for view, left, right in _W_VIEWS
    ]
    return Workload(
        name="W",
        engine="mysql",
        base=(),
        statements=(*tables, *views),
        expected=frozenset([*_W_TABLES, *(view for view, _, _ in _W_VIEWS)]),
    )


P = _p()
W = _w()

WORKLOADS = {"sqlite": P, "mysql": W}


def write_folder(folder: Path, workload: Workload) -> None:
    """The workload as one migration in dbmate's form, which is ours too."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"-- migrate:up\n{workload.script()}"
    (folder / f"{VERSION}_{MIGRATION}.sql").write_text(text)
