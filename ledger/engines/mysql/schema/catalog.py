"""information_schema's rows as schema values.

Invariant: every query is limited to the tenant's database; rows of tables that are
not the tenant's own are dropped before anything is made of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.engines.mysql.schema.model import Listing
from ledger.engines.mysql.schema.objects import (
    Names,
    normalised,
    without_definer,
    without_introducers,
)
from ledger.engines.mysql.schema.programs import passes, program_text
from ledger.engines.mysql.schema.table_text import TableText, read_table_text
from ledger.schema import Column, Definition, ForeignKey, Index, Schema, Table

TABLES: Final = """
SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()
"""
COLUMNS: Final = """
SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA,
       COLLATION_NAME, GENERATION_EXPRESSION, COLUMN_COMMENT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()
ORDER BY TABLE_NAME, ORDINAL_POSITION
"""
STATISTICS: Final = """
SELECT * FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE()
ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX
"""
FOREIGN_KEYS: Final = """
SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA,
       k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE
FROM information_schema.KEY_COLUMN_USAGE AS k
JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r
  ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME
 AND r.TABLE_NAME = k.TABLE_NAME
WHERE k.TABLE_SCHEMA = DATABASE() AND r.CONSTRAINT_SCHEMA = DATABASE()
  AND k.REFERENCED_TABLE_NAME IS NOT NULL
ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION
"""
CHECKS_MARIADB: Final = """
SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, '' FROM information_schema.CHECK_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = DATABASE()
"""
CHECKS_MYSQL: Final = """
SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE, t.ENFORCED
FROM information_schema.CHECK_CONSTRAINTS AS c
JOIN information_schema.TABLE_CONSTRAINTS AS t
  ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME
WHERE c.CONSTRAINT_SCHEMA = DATABASE() AND t.CONSTRAINT_TYPE = 'CHECK'
"""
VIEWS: Final = """
SELECT TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION, SECURITY_TYPE
FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()
"""

_PARTITIONS: Final = re.compile(r"\n? ?(?:/\*!\d+ )?PARTITION BY .*\Z", re.DOTALL)
_LIVE_OPTIONS: Final = re.compile(r"\b(?:stats_\w+|partitioned)\b(?:=\S+)?|\bpage_checksum=1\b")
"""What is no part of the definition, or says no more than its absence does (Aria's default, which
SHOW CREATE TABLE writes out)."""

_VIEW_HEAD: Final = re.compile(r"CREATE (.*?)VIEW `", re.DOTALL)
_PLAIN_VIEW: Final = re.compile(r"\bALGORITHM=UNDEFINED\b|\bSQL SECURITY \w+")
_PLAIN_SEQUENCE: Final = re.compile(
    r"(?:as bigint )?start with 1 minvalue 1 maxvalue 9223372036854775806 increment by 1"
    r" cache 1000 nocycle"
)

Row = dict[str, Any]


async def read(connection: MysqlConnection, listing: Listing, names: Names) -> Schema:
    """The schema of what is listed."""
    definitions: list[Definition] = []
    if listing.views:
        views = {row[0]: row for row in await connection.fetch(VIEWS)}
        for name in listing.views:
            _, text, check_option, security = views[name]
            words = f"{text} [check {check_option}, security {security}]"
            kind = await _kind_of_view(connection, name)
            definitions.append(_definition("view", name, f"{words} {kind}".rstrip(), names))
    for name in listing.sequences:
        rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(name)}")
        steps = await sequence_steps(connection, name)
        definitions.append(_definition("sequence", name, f"{rows[0][1]} {steps}".rstrip(), names))
    for row in listing.triggers:
        name, event, table, statement, timing, _, mode = row[:7]
        words = f"{timing} {event} ON {table} FOR EACH ROW {statement} [sql_mode {mode}]"
        definitions.append(_definition("trigger", str(name), words, names))
    for kind, name in listing.programs:
        text = await program_text(connection, kind, name)
        if not passes(text):
            definitions.append(_definition(kind, name, text, names))
    tables = await _tables(connection, listing, names) if listing.tables else ()
    return Schema(
        tables=tables,
        definitions=tuple(
            sorted(definitions, key=lambda definition: (definition.name, definition.kind))
        ),
    )


def _definition(kind: str, name: str, text: str, names: Names) -> Definition:
    """An object that is its text, comparable over tenants; white space does not count."""
    return Definition(
        kind=kind.lower(),
        name=names.neutral(name),
        text=" ".join(normalised(text, names).split()),
    )


async def _kind_of_view(connection: MysqlConnection, name: str) -> str:
    """What is no plain view's: another algorithm, MATERIALIZED, JSON RELATIONAL DUALITY."""
    rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(name)}")
    head = _VIEW_HEAD.match(without_definer(str(rows[0][1])))
    words = _PLAIN_VIEW.sub("", head[1]).split() if head else []
    return f"[{' '.join(words)}]" if words else ""


async def sequence_steps(connection: MysqlConnection, name: str) -> str:
    """Where a sequence begins and ends, and how it steps; empty for what CREATE SEQUENCE makes by itself."""
    rows = await connection.fetch(f"SHOW CREATE SEQUENCE {quote_identifier(name)}")
    text = str(rows[0][1]).partition(quote_identifier(name))[2].partition(" ENGINE=")[0].strip()
    return "" if _PLAIN_SEQUENCE.fullmatch(text) else text


async def _tables(connection: MysqlConnection, listing: Listing, names: Names) -> tuple[Table, ...]:
    heads = {row[0]: row for row in await connection.fetch(TABLES)}
    columns = by_table(await connection.fetch(COLUMNS))
    statistics = by_table(
        [(row["TABLE_NAME"], row) for row in await connection.fetch_dicts(STATISTICS)]
    )
    keys = by_table(await connection.fetch(FOREIGN_KEYS))
    mariadb = connection.server.flavor == "mariadb"
    checks = by_table(await connection.fetch(CHECKS_MARIADB if mariadb else CHECKS_MYSQL))
    found = []
    for name in listing.tables:
        head = heads[name]
        partitions = ""
        rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(name)}")
        more = read_table_text(str(rows[0][1]))
        if "partitioned" in str(head[4]):
            match = _PARTITIONS.search(str(rows[0][1]))
            partitions = match[0] if match else ""
        found.append(
            Table(
                name=names.neutral(name),
                columns=tuple(column(row, head[3], more, names) for row in columns[name]),
                indexes=indexes((row for _, row in statistics[name]), more, names),
                foreign_keys=foreign_keys(keys[name], names),
                checks=_checks(checks[name], names),
                options=_options(head, f"{more.table} {partitions}", names),
            )
        )
    return tuple(sorted(found, key=lambda table: table.name))


def by_table(rows: Iterable[tuple[Any, ...]]) -> defaultdict[str, list[tuple[Any, ...]]]:
    """Rows by their first value."""
    grouped: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(row)
    return grouped


def column(
    row: tuple[Any, ...], table_collation: str | None, more: TableText, names: Names
) -> Column:
    """A row of COLUMNS; a table's own collation does not count again."""
    _, name, kind, nullable, default, extra, collation, generation, comment = row
    parts = [extra]
    if generation:
        parts.append(f"AS ({without_introducers(_text(generation))})")
    if collation and collation != table_collation:
        parts.append(f"COLLATE {collation}")
    if comment:
        parts.append(f"COMMENT {comment!r}")
    parts.append(more.columns.get(name, ""))
    return Column(
        name=name,
        type=_text(kind),
        nullable=nullable == "YES",
        default=None if default is None else _default(_text(default), _text(extra), names),
        extra=" ".join(_text(part) for part in parts if part),
    )


def _default(text: str, extra: str, names: Names) -> str:
    """A sequence's value stands there with the sequence's database."""
    if "DEFAULT_GENERATED" in extra:
        return without_introducers(text)
    return names.neutral(text) if "nextval(" in text.lower() else text


def indexes(rows: Iterable[Row], more: TableText, names: Names) -> tuple[Index, ...]:
    """Rows of STATISTICS, in the order of the indexes' columns."""
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["INDEX_NAME"]].append(row)
    return tuple(
        _index(names.neutral(name), parts, more.indexes.get(name, ""))
        for name, parts in sorted(grouped.items())
    )


def _index(name: str, parts: list[Row], more: str) -> Index:
    first = parts[0]
    unique = not int(first["NON_UNIQUE"])
    kind = "" if first["INDEX_TYPE"] == "BTREE" else str(first["INDEX_TYPE"])
    if first.get("IS_VISIBLE") == "NO" or first.get("IGNORED") == "YES":
        kind = f"{kind} invisible".strip()
    if first.get("INDEX_COMMENT"):
        kind = f"{kind} COMMENT {first['INDEX_COMMENT']!r}".strip()
    kind = f"{kind} {more}".strip()
    return Index(
        name=name,
        columns=tuple(_part(row) for row in parts),
        unique=unique,
        origin="primary" if name == "PRIMARY" else "unique" if unique else "index",
        kind=kind,
    )


def _part(row: Row) -> str:
    text = row["COLUMN_NAME"] or f"({without_introducers(_text(row.get('EXPRESSION') or ''))})"
    if row["SUB_PART"]:
        text += f"({row['SUB_PART']})"
    return text + (" DESC" if row["COLLATION"] == "D" else "")


def foreign_keys(rows: Iterable[tuple[Any, ...]], names: Names) -> tuple[ForeignKey, ...]:
    """Rows of FOREIGN_KEYS, of one table."""
    grouped: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        grouped[row[1]].append(row)
    found = []
    for name, parts in sorted(grouped.items()):
        _, _, _, schema, parent, _, on_delete, on_update = parts[0]
        elsewhere = schema is not None and schema.lower() != names.database.lower()
        found.append(
            ForeignKey(
                name=names.neutral(name),
                columns=tuple(row[2] for row in parts),
                parent=(f"{schema}." if elsewhere else "") + names.neutral(parent),
                parent_columns=tuple(row[5] for row in parts),
                on_delete=on_delete,
                on_update=on_update,
            )
        )
    return tuple(found)


def _checks(rows: Iterable[tuple[Any, ...]], names: Names) -> tuple[str, ...]:
    return tuple(
        sorted(
            names.neutral(
                f"{name}: {without_introducers(_text(clause))}"
                + (" NOT ENFORCED" if enforced == "NO" else "")
            )
            for _, name, clause, enforced in rows
        )
    )


def _options(head: tuple[Any, ...], partitions: str, names: Names) -> str:
    _, kind, engine, collation, options, comment = head
    parts = [
        "" if kind == "BASE TABLE" else str(kind),
        f"ENGINE={engine}" if engine else "",
        f"COLLATE={collation}" if collation else "",
        " ".join(_LIVE_OPTIONS.sub("", str(options or "")).split()),
        f"COMMENT={comment!r}" if comment else "",
        " ".join(normalised(partitions, names).split()),
    ]
    return " ".join(part for part in parts if part)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
