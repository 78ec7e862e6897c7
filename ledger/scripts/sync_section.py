"""What may stand in a section sync: the tables and indexes of the desired schema.

Invariant: the section says what is to be there and nothing else, so that it can be made
in an empty scratch database and compared; whatever reads or changes rows is refused.
"""

from __future__ import annotations

from typing import Final

from ledger.dialects import Dialect
from ledger.dialects.split import Statement
from ledger.dialects.tokens import Cursor
from ledger.errors import ScriptError

_INDEX_KINDS: Final = frozenset({"UNIQUE", "FULLTEXT", "SPATIAL"})
_HINT: Final = "Write the rest into -- migrate:up of this file, which runs before."
_DUMP_HINT: Final = (
    "Take the dump with --no-data --skip-triggers, and of its tables alone:"
    " --ignore-table=DATABASE.VIEW for each view."
)


def require_sync(statement: Statement, dialect: Dialect, *, file: str, dump: bool = False) -> None:
    """Hold a statement of a section sync to CREATE TABLE NAME (…) or CREATE INDEX. Raises ScriptError."""
    problem = _problem(dialect.syntax.cursor(statement.sql))
    if problem:
        raise ScriptError(
            f"{problem} stands in the section sync, which holds CREATE TABLE and CREATE INDEX only",
            file=file,
            line=statement.line,
            hint=_DUMP_HINT if dump else _HINT,
        )


def _problem(cursor: Cursor) -> str:
    """What the statement is that may not stand there, or nothing."""
    first = cursor.next().upper
    if first != "CREATE":
        return first or "this"
    if cursor.take("TABLE"):
        return _table_problem(cursor)
    cursor.take_any(_INDEX_KINDS)
    if cursor.take("INDEX"):
        cursor.guard()
        name = cursor.name()
        table = cursor.name() if cursor.skip_to("ON") else ""
        return "a name with a database" if "." in name + table else ""
    return f"CREATE {cursor.next().upper}".strip()


def _table_problem(cursor: Cursor) -> str:
    cursor.guard()
    if "." in cursor.name():
        return "a name with a database"
    if not cursor.take_other("("):
        return "CREATE TABLE without its columns"
    if cursor.peek().upper == "LIKE":
        return "CREATE TABLE … LIKE"
    depth = 1
    while not cursor.at_end:
        token = cursor.next()
        if token.kind == "other":
            depth += (token.text == "(") - (token.text == ")")
        elif depth == 0 and token.upper in ("SELECT", "AS"):
            return "CREATE TABLE … AS SELECT"
    return ""
