"""The foreign keys of a CREATE TABLE, taken out of its text."""

from __future__ import annotations

from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.tokens import Cursor, Token
from ledger.schema import ForeignKey

Placed = tuple[int, int, Token]


def without_foreign_keys(sql: str, *, default_rule: str) -> tuple[str, tuple[ForeignKey, ...]]:
    """The statement without its clauses FOREIGN KEY, and what they say.

    `default_rule` is what the server does on DELETE and UPDATE unless a clause says it. A column's own
    REFERENCES stays in the text.
    """
    items = _items(list(SYNTAX.placed(sql)))
    found: list[ForeignKey] = []
    kept: list[str] = []
    for item in items:
        key = _read([token for _, _, token in item], default_rule)
        if key is None:
            kept.append(sql[item[0][0] : item[-1][1]])
        else:
            found.append(key)
    if not found:
        return sql, ()
    first, last = items[0][0][0], items[-1][-1][1]
    return sql[:first] + ",\n".join(kept) + sql[last:], tuple(found)


def _items(placed: list[Placed]) -> list[list[Placed]]:
    """What stands between the commas of the first parentheses."""
    items: list[list[Placed]] = [[]]
    depth = 0
    for key in placed:
        mark = key[2].text if key[2].kind == "other" else ""
        depth -= mark == ")"
        if depth == 0 and mark == ")":
            break
        if depth == 1 and mark == ",":
            items.append([])
        elif depth:
            items[-1].append(key)
        depth += mark == "("
    return [item for item in items if item]


def _read(tokens: list[Token], default_rule: str) -> ForeignKey | None:
    """The clause; None for any other."""
    cursor = Cursor(iter(tokens))
    name = ""
    if cursor.take("CONSTRAINT") and cursor.peek().upper != "FOREIGN":
        name = cursor.name()
    if not cursor.take("FOREIGN", "KEY"):
        return None
    cursor.guard()
    if not _opens(cursor):
        cursor.name()
    columns = _columns(cursor)
    cursor.take("REFERENCES")
    parent = cursor.name()
    parent_columns = _columns(cursor)
    rules = {"DELETE": default_rule, "UPDATE": default_rule}
    while not cursor.at_end:
        if cursor.next().upper == "ON" and cursor.peek().upper in rules:
            event = cursor.next().upper
            rule = cursor.next().upper
            rules[event] = f"{rule} {cursor.next().upper}" if rule in ("SET", "NO") else rule
    return ForeignKey(
        name=name,
        columns=columns,
        parent=parent,
        parent_columns=parent_columns,
        on_delete=rules["DELETE"],
        on_update=rules["UPDATE"],
    )


def _opens(cursor: Cursor) -> bool:
    return cursor.peek().kind == "other" and cursor.peek().text == "("


def _columns(cursor: Cursor) -> tuple[str, ...]:
    """The names in the parentheses that come next."""
    names: list[str] = []
    if cursor.take_other("("):
        while not cursor.at_end and not cursor.take_other(")"):
            if name := cursor.name():
                names.append(name)
            else:
                cursor.next()
    return tuple(names)
