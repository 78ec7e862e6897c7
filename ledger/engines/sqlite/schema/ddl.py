"""What SQLite's PRAGMAs leave out of a CREATE statement: read from its text.

Invariant: pure; the text is one that SQLite itself accepted and stored, so that
what is not looked for can be passed over. Whitespace and comments never count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec

from ledger.dialects.patterns import BACKTICKED, DOUBLE, SINGLE
from ledger.dialects.sqlite.syntax import COMMENT

_TOKEN: Final = re.compile(
    rf"""
    (?P<skip> \s+ | --[^\n]*+ | {COMMENT} )
  | (?P<token>
        [xX]?{SINGLE} | {DOUBLE} | {BACKTICKED} | \[[^\]]*+(?:\]|\Z)
      | (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\w*
      | [^\W\d][\w$]*
      | ->> | -> | \|\| | <= | >= | <> | != | == | << | >>
      | .
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_NO_SPACE_BEFORE: Final = frozenset((")", ",", ".", ";", "("))
_NO_SPACE_AFTER: Final = frozenset(("(", "."))
_CONSTRAINT_WORDS: Final = frozenset(("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"))

Tokens = list[str]


class ColumnText(msgspec.Struct, frozen=True):
    """A column's `extra`: collation, generated expression, conflict clauses, as written."""

    extra: str


class TableText(msgspec.Struct, frozen=True):
    """What the text of a CREATE TABLE says beyond the PRAGMAs.

    `columns` are in order; `deferred` has one value for each REFERENCES, in order.
    """

    columns: tuple[ColumnText, ...]
    checks: tuple[str, ...]
    deferred: tuple[bool, ...]
    options: str


class IndexText(msgspec.Struct, frozen=True):
    """An index's items as written, without ASC, DESC, and the condition of a partial one."""

    items: tuple[str, ...]
    where: str


def quoted(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def tokens(sql: str) -> Tokens:
    """The statement's tokens, comments and whitespace left out."""
    return [match["token"] for match in _TOKEN.finditer(sql) if match["token"] is not None]


def joined(parts: Tokens) -> str:
    """One canonical spelling of whitespace."""
    text: list[str] = []
    previous = ""
    for part in parts:
        if previous and part not in _NO_SPACE_BEFORE and previous not in _NO_SPACE_AFTER:
            text.append(" ")
        text.append(part)
        previous = part
    return "".join(text)


def normalised(sql: str) -> str:
    """The statement without comments and with canonical whitespace; strings stay as they are."""
    parts = tokens(sql)
    while parts and parts[-1] == ";":
        parts.pop()
    return joined(parts)


def read_table(sql: str) -> TableText:
    """Read a CREATE TABLE statement as SQLite keeps it."""
    parts = tokens(sql)
    if "(" not in parts:
        return TableText((), (), (), "")
    start = parts.index("(")
    body, tail = _enclosed(parts, start)
    columns: list[ColumnText] = []
    checks: list[str] = []
    deferred: list[bool] = []
    options = {joined(item) for item in _split(tail) if item}
    for item in _split(body):
        if not item:
            continue
        words = [part.upper() for part in item]
        checks += _checks(item, words)
        deferred += _deferred(words)
        if words[0] in _CONSTRAINT_WORDS:
            if conflict := _after(words, item, "ON", "CONFLICT"):
                options.add(f"{joined(item[: words.index('CONFLICT') + 1])} {conflict}")
            continue
        columns.append(ColumnText(", ".join(_extras(item, words))))
        if "AUTOINCREMENT" in words:
            options.add("AUTOINCREMENT")
    return TableText(
        tuple(columns),
        tuple(sorted(checks)),
        tuple(deferred),
        ", ".join(sorted(option.upper() if option.isascii() else option for option in options)),
    )


def column_definitions(sql: str) -> tuple[str, ...]:
    """The columns of a CREATE TABLE statement in order, each as it was written."""
    found = []
    depth = 0
    start = end = None
    for match in _TOKEN.finditer(sql):
        part = match["token"]
        if part is None:
            continue
        depth -= part == ")"
        if (depth == 0 and part == ")") or (depth == 1 and part == ","):
            if start is not None:
                found.append(sql[start:end])
            start = None
            if depth == 0:
                break
        elif depth:
            if start is None:
                start = match.start()
            end = match.end()
        depth += part == "("
    return tuple(text for text in found if tokens(text)[0].upper() not in _CONSTRAINT_WORDS)


def read_index(sql: str) -> IndexText:
    """Read a CREATE INDEX statement as SQLite keeps it."""
    parts = tokens(sql)
    body, tail = _enclosed(parts, parts.index("("))
    items = []
    for item in _split(body):
        if item and item[-1].upper() in ("ASC", "DESC"):
            item = item[:-1]
        items.append(joined(item))
    where = joined(tail[1:]) if tail and tail[0].upper() == "WHERE" else ""
    return IndexText(tuple(items), where)


def _enclosed(parts: Tokens, start: int) -> tuple[Tokens, Tokens]:
    """What stands inside the parenthesis at `start`, and what follows it."""
    depth = 0
    for position in range(start, len(parts)):
        if parts[position] == "(":
            depth += 1
        elif parts[position] == ")":
            depth -= 1
            if depth == 0:
                return parts[start + 1 : position], parts[position + 1 :]
    return parts[start + 1 :], []


def _split(parts: Tokens) -> Iterator[Tokens]:
    """Cut at the commas outside parentheses."""
    depth = 0
    item: Tokens = []
    for part in parts:
        depth += (part == "(") - (part == ")")
        if part == "," and depth == 0:
            yield item
            item = []
        else:
            item.append(part)
    yield item


def _top(parts: Tokens) -> Iterator[int]:
    """Positions outside parentheses; an opening parenthesis counts as outside."""
    depth = 0
    for position, part in enumerate(parts):
        if part == ")":
            depth -= 1
        if depth == 0:
            yield position
        if part == "(":
            depth += 1


def _checks(item: Tokens, words: Tokens) -> list[str]:
    return [
        joined(_enclosed(item, position + 1)[0])
        for position in _top(item)
        if words[position] == "CHECK" and words[position + 1 : position + 2] == ["("]
    ]


def _deferred(words: Tokens) -> list[bool]:
    """For each REFERENCES of the item, whether it is checked at COMMIT only."""
    positions = [at for at in _top(words) if words[at] == "REFERENCES"]
    found = []
    for at, end in pairwise([*positions, len(words)]):
        clause = words[at:end]
        found.append(
            any(
                clause[here : here + 3] == ["DEFERRABLE", "INITIALLY", "DEFERRED"]
                and clause[here - 1] != "NOT"
                for here in range(1, len(clause))
            )
        )
    return found


def _extras(item: Tokens, words: Tokens) -> Iterator[str]:
    for at in _top(item):
        if at == 0:
            continue
        if words[at] == "COLLATE" and at + 1 < len(item):
            yield f"COLLATE {words[at + 1].strip(chr(34))}"
        elif words[at] == "AS" and words[at + 1 : at + 2] == ["("]:
            inner, tail = _enclosed(item, at + 1)
            kind = "STORED" if [word.upper() for word in tail[:1]] == ["STORED"] else "VIRTUAL"
            yield f"GENERATED ALWAYS AS({joined(inner)}) {kind}"
        elif words[at] == "CONFLICT" and words[at - 1] == "ON" and at + 1 < len(item):
            yield f"ON CONFLICT {words[at + 1]}"


def _after(words: Tokens, item: Tokens, *sequence: str) -> str:
    """The word that follows a sequence of words outside parentheses, or nothing."""
    length = len(sequence)
    for at in _top(item):
        if tuple(words[at : at + length]) == sequence and at + length < len(words):
            return words[at + length]
    return ""
