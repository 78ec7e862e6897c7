"""Where a stored program or a compound statement ends that was written without DELIMITER.

The client would cut it at its first semicolon, and the server refuse the piece; so
reading on to the END that closes it changes the meaning of no file that runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.tokens import Token

_PROGRAMS: Final = frozenset({"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT"})
_LOOPS: Final = frozenset({"LOOP", "WHILE", "REPEAT"})
_COMPOUND: Final = frozenset({"IF", "CASE", "FOR", *_LOOPS})
_STARTS: Final = frozenset({";", "BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT", ":"})
"""After these a statement begins."""

_GUARDED: Final = frozenset(
    {"TABLE", "TABLES", "VIEW", "INDEX", "KEY", "COLUMN", "DATABASE", "SCHEMA", "USER", "ROLE",
     "SEQUENCE", "CONSTRAINT", "PREPARE", "PARTITION", "SERVER", *_PROGRAMS}
)  # fmt: skip
"""After these an IF [NOT] EXISTS is a guard, and no statement."""

_NAMED_AS: Final = frozenset({".", ",", "=", ")", "FROM", "AS", "<", ">"})
_HEAD_TOKENS: Final = 16
_PERHAPS: Final = re.compile(
    r"\W*(?:M!)?\d*\s*(?:CREATE|BEGIN|IF|CASE|LOOP|WHILE|REPEAT|FOR)\b", re.IGNORECASE
)


def has_body(sql: str) -> bool:
    """Whether the statement may have a body with semicolons of its own."""
    if _PERHAPS.match(sql) is None:
        return False
    head = [token.upper for _, token in zip(range(_HEAD_TOKENS), SYNTAX.tokens(sql), strict=False)]
    if head[:1] == ["CREATE"]:
        return any(word in _PROGRAMS for word in head)
    return head[:2] == ["BEGIN", "NOT"] or bool(_COMPOUND & set(head[:1]))


class Nesting:
    """What is open after the pieces read so far, each up to a semicolon."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self._first = ""
        self._before = ""

    def read(self, piece: str) -> None:
        """The next piece, without its semicolon."""
        words = list(SYNTAX.tokens(piece))
        skip = -1
        for number, token in enumerate(words):
            if self._before in _STARTS or not self._first:
                self._first = token.upper
            if number != skip:
                skip = number + 1 if self._take(token, words, number) else skip
            self._before = token.upper or token.text
        self._before, self._first = ";", ""

    def _take(self, token: Token, words: Sequence[Token], number: int) -> bool:
        """Take one token in; whether the one after it belongs to it."""
        word = token.upper
        after = words[number + 1] if number + 1 < len(words) else Token("other", "", "")
        top = self.open[-1] if self.open else ""
        starts = not self.open or self._before in _STARTS
        if word == "END":
            return self._end(top, after)
        if word == "CASE":
            self.open.append(word)
        elif word == "BEGIN":
            named = (after.upper or after.text) in _NAMED_AS or self._before == "."
            if not named and (starts or self._first == "DECLARE"):
                self.open.append(word)
        elif word == "IF":
            guard = self._before in _GUARDED and after.upper in ("NOT", "EXISTS")
            if starts and not guard and _commas(words, number + 1) < 2:
                self.open.append(word)
        elif word in _LOOPS:
            if starts and _commas(words, number + 1) < 1:
                self.open.append(word)
        elif word == "FOR" and (self._before in _STARTS or not self._before):
            self.open.append(word)
        return False

    def _end(self, top: str, after: Token) -> bool:
        if top == "CASE":
            self.open.pop()
            return after.upper == "CASE"
        if top == "BEGIN" and self._before in _STARTS:
            self.open.pop()
        elif top and after.upper == top:
            self.open.pop()
            return True
        return False


def _commas(words: Sequence[Token], at: int) -> int:
    """Commas directly inside the parenthesis that opens at `at`; a function's arguments have them."""
    if at >= len(words) or words[at].text != "(":
        return 0
    depth = found = 0
    for token in words[at:]:
        if token.kind == "other":
            depth += (token.text == "(") - (token.text == ")")
            found += depth == 1 and token.text == ","
        if depth == 0:
            break
    return found
