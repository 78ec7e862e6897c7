"""Desired tables as temporary ones in the tenant's own database, for accounts without scratch databases.

Only the connection that makes a temporary table sees it, and the server drops it with the connection.
information_schema does not list it: both sides are read from what SHOW says, which is alike for both.
Invariant: each statement is rewritten to a name of ours, so that none reaches a table of the tenant.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from ledger.dialects.mysql.foreign_keys import without_foreign_keys
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import Step
from ledger.drivers import mysql
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import catalog
from ledger.engines.mysql.schema.objects import Names, normalised, without_introducers
from ledger.engines.mysql.schema.table_text import column_and_key_lines, read_table_text
from ledger.schema import ForeignKey, Schema, Table

SECONDS: Final = 60.0
Lines = dict[tuple[str, str, str], str]

_SESSION: Final = """
SET sql_mode = %s, default_tmp_storage_engine = @@default_storage_engine, foreign_key_checks = 0
"""
_TAIL: Final = re.compile(r"\n\) (.*)\Z", re.DOTALL)
_NO_OPTION: Final = re.compile(
    r"\bAUTO_INCREMENT=\d+|\bSTATS_\w+=\w+|(?:/\*!\d+ )?\bENCRYPTION='.'(?: \*/)?"
)
_COLLATE: Final = re.compile(r"\bCOLLATE=(\w+)")
_CHECK: Final = re.compile(r"  CONSTRAINT `((?:[^`]|``)*)` (CHECK .*?),?")
_CHECK_OF_COLUMN: Final = re.compile(r" CHECK \(.*")
_GENERATED: Final = re.compile(r" AS \((.*)\) (?:VIRTUAL|STORED|PERSISTENT)\b")
_DEFAULT: Final = re.compile(
    r" DEFAULT ('(?:[^'\\]|''|\\.)*'|.+?)(?= ON UPDATE | COMMENT '| CHECK \(| INVISIBLE| /\*!|\Z)"
)
_NO_EXTRA: Final = re.compile(r"\bDEFAULT_GENERATED\b|\bNULL\b")
"""MySQL writes these for the one or for the other sort of table only."""


@asynccontextmanager
async def session(opened: Opened) -> AsyncIterator[MysqlConnection]:
    """A connection for temporary tables, with the tenant's sql_mode."""
    ((mode,),) = await opened.connection.fetch("SELECT @@sql_mode")
    target = opened.target
    async with mysql.connect(opened.url, target.secret, session=target.session) as other:
        await other.fetch(_SESSION, (str(mode),))
        yield other


class ImpossibleError(Exception):
    """A temporary table cannot be made so; the message says why."""


def renamed(step: Step, name: str) -> str:
    """A CREATE TABLE as CREATE TEMPORARY TABLE `name`; a CREATE INDEX on that table.

    Raises ImpossibleError for any other statement, and for REFERENCES: no temporary table has any.
    """
    placed = list(SYNTAX.placed(step.readable))
    words = [token.upper for _, _, token in placed]
    temporary = ""
    if words[:2] == ["CREATE", "TABLE"]:
        at = 5 if words[2:5] == ["IF", "NOT", "EXISTS"] else 2
        temporary = " TEMPORARY"
    elif words[:1] == ["CREATE"] and "INDEX" in words[1:3] and "ON" in words:
        at = words.index("ON") + 1
    else:
        raise ImpossibleError("it is made by more than CREATE TABLE and CREATE INDEX")
    if "REFERENCES" in words:
        raise ImpossibleError("it has foreign keys")
    _, after_create, _ = placed[0]
    start, end, _ = placed[at]
    sql = step.sql
    if step.readable[:end] != sql[:end]:
        raise ImpossibleError("a backslash stands before its name")
    return (
        sql[:after_create]
        + temporary
        + sql[after_create:start]
        + quote_identifier(name)
        + sql[end:]
    )


class Made(NamedTuple):
    """A temporary table, and the foreign keys that its text says and that it cannot have."""

    name: str
    foreign_keys: tuple[ForeignKey, ...]


async def make(connection: MysqlConnection, table: str, steps: Sequence[Step]) -> Made:
    """Make the table by its CREATE TABLE and CREATE INDEX. Raises ImpossibleError and QueryError."""
    name = "_ledger_sync_" + hashlib.sha256(table.encode()).hexdigest()[:16]
    keys: tuple[ForeignKey, ...] = ()
    default_rule = "RESTRICT" if connection.server.flavor == "mariadb" else "NO ACTION"
    for step in steps:
        text = step
        if step.readable == step.sql:
            sql, found = without_foreign_keys(step.sql, default_rule=default_rule)
            keys += found
            text = msgspec.structs.replace(step, sql=sql)
        await connection.execute(renamed(text, name), seconds=SECONDS)
    return Made(name, keys)


async def read(
    connection: MysqlConnection, tables: Mapping[str, str], names: Names
) -> tuple[Schema, Lines]:
    """The tables, named as `tables` says; their lines as in Desired."""
    found, lines = [], {}
    keys = catalog.by_table(await connection.fetch(catalog.FOREIGN_KEYS))
    for name, called in tables.items():
        rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(name)}")
        text = str(rows[0][1])
        label = names.neutral(called)
        for kind, part, line in column_and_key_lines(text):
            lines[label, kind, names.neutral(part).lower()] = line
        table = await _table(connection, name, label, text, names)
        references = catalog.foreign_keys(keys[name], names)
        found.append(msgspec.structs.replace(table, foreign_keys=references))
    return Schema(tables=tuple(found)), lines


async def _table(
    connection: MysqlConnection, name: str, label: str, text: str, names: Names
) -> Table:
    quoted = quote_identifier(name)
    columns = await connection.fetch_dicts(f"SHOW FULL COLUMNS FROM {quoted}")
    indexes = await connection.fetch_dicts(f"SHOW INDEX FROM {quoted}")
    lines = {part: line for kind, part, line in column_and_key_lines(text) if kind == "column"}
    tail = _TAIL.search(text)
    options = _NO_OPTION.sub("", tail[1] if tail else "")
    collation = _COLLATE.search(options)
    more = read_table_text(text)
    checks = [
        f"{match[1].replace(name, label)}: {match[2]}"
        for line in text.split("\n")
        if (match := _CHECK.fullmatch(line))
    ]
    checks += [
        f"{part}:{match[0]}"
        for part, line in lines.items()
        if (match := _CHECK_OF_COLUMN.search(line))
    ]
    return Table(
        name=label,
        columns=tuple(
            catalog.column(
                _column(row, lines[row["Field"]]),
                collation[1] if collation else None,
                more,
                names,
            )
            for row in columns
            if row["Field"] in lines  # MySQL lists the hidden column of a functional index too.
        ),
        indexes=catalog.indexes((_statistics(row) for row in indexes), more, names),
        checks=tuple(sorted(names.neutral(_unescaped(check)) for check in checks)),
        options=" ".join(normalised(options, names).split()),
    )


def _column(row: Mapping[str, Any], line: str) -> tuple[Any, ...]:
    """SHOW FULL COLUMNS' row as catalog.COLUMNS has it, with what the table's text says better."""
    default = _DEFAULT.search(line)
    generated = _GENERATED.search(line)
    return (
        None,
        row["Field"],
        row["Type"],
        row["Null"],
        None if default is None or default[1] == "NULL" else without_introducers(default[1]),
        " ".join(_NO_EXTRA.sub("", str(row["Extra"])).split()),
        row["Collation"],
        _unescaped(generated[1]) if generated else "",
        row["Comment"],
    )


def _statistics(row: Mapping[str, Any]) -> dict[str, Any]:
    """SHOW INDEX' row as information_schema.STATISTICS has it."""
    other = {"KEY_NAME": "INDEX_NAME", "VISIBLE": "IS_VISIBLE"}
    values = {other.get(key.upper(), key.upper()): value for key, value in row.items()}
    return {**values, "EXPRESSION": _unescaped(values.get("EXPRESSION") or "")}


def _unescaped(expression: str) -> str:
    """MySQL writes the quotes of an expression's literals as \\' for tables that are not temporary."""
    return without_introducers(expression).replace("\\'", "'")


def with_foreign_keys(
    table: Table, wanted: Sequence[ForeignKey], live: Table, names: Names
) -> Table:
    """The temporary table with its text's foreign keys, spelled as the live ones where no more than that differs."""
    there = {_folded(key): key for key in live.foreign_keys}
    keys = [
        msgspec.structs.replace(key, name=names.neutral(key.name), parent=names.neutral(key.parent))
        for key in wanted
    ]
    return msgspec.structs.replace(
        table, foreign_keys=tuple(there.get(_folded(key), key) for key in keys)
    )


def _folded(key: ForeignKey) -> str:
    return repr(msgspec.structs.replace(key, name="")).lower()
