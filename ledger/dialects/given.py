"""What an INSERT does with rows that are there already, and how many rows it gives.

Pure. Invariant: nothing is read of a statement that has not one of the few words that say so, near its beginning
or its end, so that a long INSERT costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from ledger.dialects.syntax import Syntax

Meets = Literal["keeps", "replaces", "updates"]


class Given(NamedTuple):
    """`rows` is None where the text does not show it. `meets`: what becomes of a row that is there."""

    meets: Meets
    rows: int | None


_MAY: Final = re.compile(r"\b(?:IGNORE|REPLACE|CONFLICT|DUPLICATE|EXISTS)\b", re.IGNORECASE)
_HEAD, _TAIL = 1_000, 10_000
"""Characters from the beginning and to the end in which such a word may stand."""

_WORDS: Final = re.compile(r"[A-Za-z_]\w*|[()]")
_PARENTHESES: Final = re.compile(r"[()]")
_BODIES: Final = frozenset({"VALUES", "VALUE", "SELECT", "SET", "DEFAULT"})
_ENDS: Final = frozenset({"ON", "AS", "RETURNING"})
_GROUP: Final = "("
"""Stands for a pair of parentheses and all that is in them."""


def given(sql: str, syntax: Syntax) -> Given | None:
    """How an INSERT or REPLACE meets what is there; None where it fails at it, or is another statement."""
    short = len(sql) <= _HEAD + _TAIL
    if short and not _MAY.search(sql):
        return None
    if not (short or _MAY.search(sql, 0, _HEAD) or _MAY.search(sql, len(sql) - _TAIL)):
        return None
    return _given(sql, syntax)


@lru_cache(maxsize=256)
def _given(sql: str, syntax: Syntax) -> Given | None:
    text = syntax.opaque.sub(" ", sql)
    words = [word.upper() for word in _WORDS.findall(_outline(text))]
    start = next((at for at, word in enumerate(words) if word in ("INSERT", "REPLACE")), len(words))
    if words[:1] not in (["INSERT"], ["REPLACE"], ["WITH"]) or start == len(words):
        return None
    body = next((at for at in range(start, len(words)) if words[at] in _BODIES), len(words))
    meets = _meets(words[start:body], words[body:])
    if meets is None and not _asks(words[body:]):
        return None
    return Given(meets or "keeps", _rows(words[body:], text))


def _outline(text: str) -> str:
    """The text with one parenthesis for each pair and all between."""
    parts: list[str] = []
    depth = last = 0
    for match in _PARENTHESES.finditer(text):
        if match[0] == "(":
            if depth == 0:
                parts += [text[last : match.start()], _GROUP]
            depth += 1
        elif depth:
            depth -= 1
            last = match.end()
    return "".join([*parts, text[last:] if depth == 0 else ""])


def _meets(head: Sequence[str], body: Sequence[str]) -> Meets | None:
    if head[0] == "REPLACE" or list(head[1:3]) == ["OR", "REPLACE"]:
        return "replaces"
    if "DUPLICATE" in body or ("CONFLICT" in body and "UPDATE" in body):
        return "updates"
    return "keeps" if "IGNORE" in head or "CONFLICT" in body else None


def _asks(body: Sequence[str]) -> bool:
    """INSERT … SELECT … WHERE NOT EXISTS (…)."""
    return any(list(body[at : at + 3]) == ["WHERE", "NOT", "EXISTS"] for at in range(len(body)))


def _rows(body: Sequence[str], text: str) -> int | None:
    if body[:1] == ["SET"]:
        return 1
    if body[:1] in (["VALUES"], ["VALUE"]):
        end = next((at for at, word in enumerate(body) if word in _ENDS), len(body))
        return body[:end].count(_GROUP)
    return 1 if body[:1] == ["SELECT"] and "UNION" not in body and _reads_nothing(text) else None


def _reads_nothing(text: str) -> bool:
    """Whether a SELECT reads no table before its first WHERE but DUAL, or a SELECT of the same sort."""
    words = [word.upper() for word in _WORDS.findall(text)]
    end = words.index("WHERE") if "WHERE" in words else len(words)
    return all(
        words[at + 1] == "DUAL" or words[at + 1 : at + 3] == ["(", "SELECT"]
        for at, word in enumerate(words[:end])
        if word in ("FROM", "UNION", "JOIN")
    )
