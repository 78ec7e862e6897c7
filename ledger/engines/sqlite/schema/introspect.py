"""A SQLite database's schema as values, and a cache by the text of its definitions.

Invariant: the schema is a function of sqlite_master's text alone, so that equal
texts need one introspection; the marker table and SQLite's own tables are left out.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from typing import Final

from ledger.dialects.steps import MARKER_TABLE
from ledger.engines.sqlite.schema.ddl import TableText, normalised, read_index, read_table
from ledger.schema import Column, Definition, ForeignKey, Index, Schema, Table, fingerprint

READ_DEFINITIONS: Final = """
SELECT type, name, tbl_name, sql FROM main.sqlite_master
"""
READ_COLUMNS: Final = """
SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)
"""
READ_INDEXES: Final = 'SELECT name, "unique", origin FROM pragma_index_list(?)'
READ_INDEX_COLUMNS: Final = """
SELECT cid, name, "desc", coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno
"""
READ_FOREIGN_KEYS: Final = """
SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq
"""
READ_SHADOWS: Final = "SELECT name FROM pragma_table_list WHERE type = 'shadow'"

_HAS_TABLE_LIST: Final = sqlite3.sqlite_version_info >= (3, 37)
_SHADOW_SUFFIXES: Final = (
    *("_content", "_data", "_idx", "_docsize", "_config", "_segments", "_segdir", "_stat"),
    *("_node", "_parent", "_rowid"),
)
"""Of FTS3, FTS4, FTS5 and R-tree, for a SQLite that cannot list them (before 3.37)."""

Row = tuple[str, str, str, str]
Rows = list[Row]

TableKey = tuple[Row, tuple[tuple[str, str], ...]]
"""A table's own text and its indexes' names and texts."""

TABLES_KEPT: Final = 10_000


class SchemaCache:
    """Fingerprints and schemas by the text of the definitions, shared by an engine's sessions.

    Bounded: a fleet has few different schemas at a time. `sound` are fingerprints of
    schemas whose foreign keys were checked once, and could be.
    """

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._lock = threading.Lock()
        self.sound: set[str] = set()
        self._kept: dict[tuple[Row, ...], tuple[str, Schema]] = {}
        self._tables: dict[TableKey, Table] = {}

    def read(self, database: sqlite3.Connection) -> tuple[str, Schema]:
        """The live schema and its fingerprint. Raises sqlite3.Error."""
        key = tuple(database.execute(READ_DEFINITIONS))
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            rows = sorted(row for row in key if _counts(row))
            with self._lock:
                tables = dict(self._tables)
            schema = read_schema(database, rows, tables)
            found = (fingerprint(schema), schema)
            with self._lock:
                self._tables = tables if len(tables) <= TABLES_KEPT else {}
                while len(self._kept) >= self._size:
                    gone, _ = self._kept.pop(next(iter(self._kept)))
                    self.sound.discard(gone)
                self._kept[key] = found
        return found

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._tables.clear()
            self.sound.clear()


def _counts(row: Row) -> bool:
    """Whether the object is the tenant's own: not SQLite's (some of them without a text), nor the marker."""
    _, name, table, sql = row
    return bool(sql) and not name.startswith("sqlite_") and table != MARKER_TABLE


def read_schema(
    database: sqlite3.Connection, rows: Rows, known: dict[TableKey, Table] | None = None
) -> Schema:
    """Introspect the objects that `rows` (of sqlite_master) name. Raises sqlite3.Error.

    `known` tables with the same texts are not asked for again, and those that were join them.
    """
    known = {} if known is None else known
    virtual = {row[1] for row in rows if row[3][:21].upper().startswith("CREATE VIRTUAL")}
    hidden = _shadows(database, virtual) - virtual
    index_texts: dict[str, dict[str, str]] = defaultdict(dict)
    for kind, name, of, sql in rows:
        if kind == "index":
            index_texts[of][name] = sql
    tables: list[Table] = []
    definitions = []
    for row in rows:
        kind, name, _, sql = row
        if name in hidden or kind == "index":
            continue
        if kind == "table" and name not in virtual:
            key = (row, tuple(index_texts[name].items()))
            table = known.get(key)
            if table is None:
                text = read_table(sql)
                table = _table(database, name, text, index_texts[name])
                if not table.foreign_keys:
                    # A REFERENCES without columns means another table's key, which may change.
                    known[key] = table
            tables.append(table)
        else:
            shown = "virtual table" if kind == "table" else kind
            definitions.append(Definition(kind=shown, name=name, text=normalised(sql)))
    return Schema(
        tables=tuple(sorted(tables, key=lambda table: table.name)),
        definitions=tuple(sorted(definitions, key=lambda item: (item.name, item.kind))),
    )


def _shadows(database: sqlite3.Connection, virtual: set[str]) -> set[str]:
    if not virtual:
        return set()
    if _HAS_TABLE_LIST:
        return {name for (name,) in database.execute(READ_SHADOWS)}
    return {name + suffix for name in virtual for suffix in _SHADOW_SUFFIXES}


def _table(
    database: sqlite3.Connection, name: str, text: TableText, index_texts: dict[str, str]
) -> Table:
    columns = []
    key: list[tuple[int, str]] = []
    for position, (column, kind, not_null, default, pk) in enumerate(
        database.execute(READ_COLUMNS, (name,))
    ):
        extra = text.columns[position].extra if position < len(text.columns) else ""
        columns.append(
            Column(
                name=column,
                type=kind.upper(),
                nullable=not not_null,
                default=normalised(default) if default is not None else None,
                extra=extra,
            )
        )
        if pk:
            key.append((pk, column))
    return Table(
        name=name,
        columns=tuple(columns),
        indexes=_indexes(database, name, [column for _, column in sorted(key)], index_texts),
        foreign_keys=_foreign_keys(database, name, text),
        checks=text.checks,
        options=text.options,
    )


def _indexes(
    database: sqlite3.Connection, table: str, key: list[str], texts: dict[str, str]
) -> tuple[Index, ...]:
    """All indexes; those that a constraint made have no name, since SQLite numbers them."""
    found = []
    primary = tuple(key)
    for name, unique, origin in database.execute(READ_INDEXES, (table,)).fetchall():
        text = read_index(texts[name]) if name in texts else None
        columns = []
        rows = database.execute(READ_INDEX_COLUMNS, (name,)).fetchall()
        for position, (cid, column, descending, collation) in enumerate(rows):
            if cid == -2 and text is not None:
                shown = text.items[position]
            else:
                shown = column if column is not None else "rowid"
                shown += f" COLLATE {collation}" * (collation != "BINARY")
            columns.append(shown + " DESC" * bool(descending))
        if origin == "pk":
            primary = tuple(columns)
            continue
        found.append(
            Index(
                name="" if origin == "u" else name,
                columns=tuple(columns),
                unique=bool(unique),
                origin="unique" if origin == "u" else "index",
                where=text.where if text is not None else "",
            )
        )
    if primary:
        found.append(Index(name="PRIMARY", columns=primary, unique=True, origin="primary"))
    return tuple(sorted(found, key=lambda index: (index.name, index.columns)))


def _foreign_keys(
    database: sqlite3.Connection, table: str, text: TableText
) -> tuple[ForeignKey, ...]:
    grouped: dict[int, list[tuple[str, str, str | None, str, str]]] = defaultdict(list)
    for number, parent, column, parent_column, on_update, on_delete in database.execute(
        READ_FOREIGN_KEYS, (table,)
    ):
        grouped[number].append((parent, column, parent_column, on_update, on_delete))
    found = []
    for number, parts in grouped.items():
        # SQLite numbers them from the last one written to the first.
        written = len(grouped) - 1 - number
        parent, _, _, on_update, on_delete = parts[0]
        parent_columns = tuple(part[2] for part in parts if part[2] is not None)
        found.append(
            ForeignKey(
                name="",
                columns=tuple(part[1] for part in parts),
                parent=parent,
                parent_columns=parent_columns or _primary_key(database, parent),
                on_delete=on_delete,
                on_update=on_update,
                deferred=text.deferred[written] if written < len(text.deferred) else False,
            )
        )
    return tuple(sorted(found, key=lambda item: (item.columns, item.parent, item.parent_columns)))


def _primary_key(database: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """What a REFERENCES without columns means; empty while the parent does not exist."""
    rows = database.execute(READ_COLUMNS, (table,)).fetchall()
    return tuple(row[0] for row in sorted((row for row in rows if row[4]), key=lambda row: row[4]))
