"""A file of named queries for `migrate --explain`: `-- query: NAME`, then one SELECT.

Invariant: nothing but a query comes out: what is explained can change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ledger.dialects import DialectName, dialect_of
from ledger.errors import ScriptError
from ledger.scripts.placeholders import bind_statement
from ledger.scripts.source import SourceFile

_NAMED: Final = re.compile(r"^--[ \t]*query[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
# A comment that servers run (`/*! … */`) is no comment, and so no SELECT stands after it.
_LEADING: Final = re.compile(r"(?:\s+|--[^\n]*\n|#[^\n]*\n|/\*(?![!+]|M!)(?:[^*]|\*(?!/))*\*/|\()*")
_WORD: Final = re.compile(r"[A-Za-z]+")
_INTO: Final = re.compile(r"\bINTO\b", re.IGNORECASE)
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")
QUERIES: Final = ("SELECT", "WITH", "VALUES")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One named query, not yet bound, and where it stands."""

    name: str
    sql: str
    file: str
    line: int


def parse_queries(source: SourceFile, dialect: DialectName) -> tuple[Query, ...]:
    """The file's queries, in order. Raises ScriptError for one without a name, twice named, or no SELECT."""
    file = source.file
    script = dialect_of(dialect).split(source.text, file=file)
    found: dict[str, Query] = {}
    for statement in script.statements:
        names = _NAMED.findall(statement.lead)
        if len(names) != 1 or not names[0]:
            raise ScriptError(
                "a query has no name" if not any(names) else f"{names[-2]!r} has no query",
                file=file,
                line=statement.line,
                hint="Write `-- query: NAME` on a line of its own before each SELECT.",
            )
        if names[0] in found:
            raise ScriptError(
                f"two queries are named {names[0]!r} (the first is in line {found[names[0]].line})",
                file=file,
                line=statement.line,
                hint="Give each a name of its own.",
            )
        if not is_query(statement.sql):
            raise ScriptError(
                f"{names[0]!r} is not a SELECT",
                file=file,
                line=statement.line,
                hint="Only what reads can be explained here: SELECT, or WITH … SELECT.",
            )
        found[names[0]] = Query(name=names[0], sql=statement.sql, file=file, line=statement.line)
    if not found:
        raise ScriptError(
            "the file holds no query",
            file=file,
            hint="Write `-- query: NAME` and a SELECT after it.",
        )
    return tuple(found.values())


def is_query(sql: str) -> bool:
    """Whether the statement starts as one that reads, and sends its rows nowhere (`INTO`)."""
    start = _LEADING.match(sql)
    word = _WORD.match(sql, start.end() if start else 0)
    if word is None or word[0].upper() not in QUERIES:
        return False
    bare = _QUOTED.sub("''", sql)
    if word[0].upper() == "WITH" and re.search(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b", bare, re.I):
        return False
    return not _INTO.search(bare)


def bind_query(query: Query, variables: Mapping[str, str], dialect: DialectName) -> Query:
    """The query with its placeholders replaced. Raises ScriptError for one that nothing stands for."""
    text = bind_statement(query.sql, variables, dialect=dialect, file=query.file, line=query.line)
    return msgspec.structs.replace(query, sql=text)
