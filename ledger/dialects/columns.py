"""The names of a table's columns, as the statement that creates it lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.dialects.syntax import Syntax
from ledger.dialects.tokens import Cursor

NO_COLUMN: Final = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "LIKE"})
"""What begins a part of the list that is no column; a column of such a name is quoted."""

_BEFORE: Final = {"PERIOD": "FOR", "VECTOR": "INDEX"}
"""Words that begin no column only before these."""


def created_columns(sql: str, syntax: Syntax, no_column: frozenset[str]) -> tuple[str, ...]:
    """The columns of a CREATE TABLE, unquoted; none where they come from a query or from another table."""
    cursor = syntax.cursor(sql)
    if not cursor.take("CREATE"):
        return ()
    while not cursor.at_end and not cursor.take_other("("):
        if cursor.peek().upper in ("AS", "SELECT", "LIKE"):
            return ()
        cursor.next()
    return tuple(_names(cursor, no_column))


def _names(cursor: Cursor, no_column: frozenset[str]) -> Iterator[str]:
    """The first name of each part, up to the parenthesis that closes the list."""
    depth = 1
    begins = True
    while depth and not cursor.at_end:
        token = cursor.peek()
        if begins and token.kind in ("word", "quoted", "string"):
            after = cursor.peek(1).upper
            name = cursor.name()
            if token.upper not in no_column or after != _BEFORE.get(token.upper, after):
                yield name
        else:
            cursor.next()
            if token.kind == "other":
                depth += (token.text == "(") - (token.text == ")")
        begins = depth == 1 and token.kind == "other" and token.text == ","
