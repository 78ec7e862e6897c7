"""A file of named queries for `migrate --explain`: `-- query: NAME`, then one SELECT.

Invariant: nothing but a query comes out: what is explained can change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ledger.dialects import Dialect, DialectName, dialect_of
from ledger.errors import ScriptError
from ledger.scripts.placeholders import bind_statement
from ledger.scripts.source import SourceFile

_NAMED: Final = re.compile(r"^--[ \t]*query[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
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
    spoken = dialect_of(dialect)
    script = spoken.split(source.text, file=file)
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
        if not is_query(statement.sql, spoken):
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


def is_query(sql: str, dialect: Dialect) -> bool:
    """Whether the statement is one that reads, and sends its rows nowhere (`INTO`)."""
    words = [token.upper for token in dialect.syntax.tokens(sql) if token.text != "("]
    reads = words[:1] != [] and words[0] in QUERIES and dialect.classify(sql).kind == "query"
    return reads and "INTO" not in words


def bind_query(query: Query, variables: Mapping[str, str], dialect: DialectName) -> Query:
    """The query with its placeholders replaced. Raises ScriptError for an unknown one."""
    text = bind_statement(query.sql, variables, dialect=dialect, file=query.file, line=query.line)
    return msgspec.structs.replace(query, sql=text)
