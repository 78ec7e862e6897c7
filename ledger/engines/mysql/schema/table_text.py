"""What information_schema does not say of a table, read from SHOW CREATE TABLE: parsers, spatial
reference systems, block sizes; and its lines.

Invariant: words in literals and comments are no options; what a table does not have adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ledger.dialects.mysql.syntax import SINGLE

_LITERAL: Final = re.compile(SINGLE, re.DOTALL)
_COLUMN: Final = re.compile(r"  `((?:[^`]|``)*)` ")
_INDEX: Final = re.compile(r"  (?:\w+ )?KEY `((?:[^`]|``)*)` ")
_OF_COLUMNS: Final = re.compile(
    r"\bSRID \d+|\bREF_SYSTEM_ID=\d+|\bCOLUMN_FORMAT \w+|\bSTORAGE (?:DISK|MEMORY)\b"
)
_OF_INDEXES: Final = re.compile(
    r"\bKEY_BLOCK_SIZE=\d+|\bWITH PARSER `?\w+`?|`?\b(?:M|DISTANCE)\b`?=\w+"
)
_OF_TABLES: Final = re.compile(r"\bAUTOEXTEND_SIZE=\d+|\bUNION=\([^)]*\)")
_LINE: Final = re.compile(
    r"\s*(?:(?P<primary>PRIMARY KEY)|(?:\w+ )?KEY (?P<key>`(?:[^`]|``)*`)|(?P<column>`(?:[^`]|``)*`)) .*"
)


class TableText(msgspec.Struct, frozen=True, kw_only=True):
    """Options by the column's and the index's name, and the table's own; empty where there is none."""

    columns: Mapping[str, str]
    indexes: Mapping[str, str]
    table: str


def read_table_text(text: str) -> TableText:
    """The options in SHOW CREATE TABLE's text (with backticks)."""
    body, _, tail = _LITERAL.sub("''", text).rpartition("\n)")
    columns: dict[str, str] = {}
    indexes: dict[str, str] = {}
    for line in body.splitlines():
        if found := _INDEX.match(line):
            indexes[found[1].replace("``", "`")] = " ".join(_OF_INDEXES.findall(line))
        elif found := _COLUMN.match(line):
            columns[found[1].replace("``", "`")] = " ".join(_OF_COLUMNS.findall(line))
    return TableText(columns=columns, indexes=indexes, table=" ".join(_OF_TABLES.findall(tail)))


def column_and_key_lines(text: str) -> list[tuple[str, str, str]]:
    """Kind, name and text of each column and key in SHOW CREATE TABLE's text."""
    found = []
    for line in text.split("\n")[1:]:
        if line.startswith(")"):
            break
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        part = line.strip().removesuffix(",")
        if match["column"]:
            found.append(("column", _unquoted(match["column"]), part))
        else:
            name = "PRIMARY" if match["primary"] else _unquoted(match["key"])
            found.append(("index", name, part))
    return found


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")
