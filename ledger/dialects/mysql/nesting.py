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

_ROUTINES: Final = frozenset({"PROCEDURE", "FUNCTION"})
_PROGRAMS: Final = frozenset({*_ROUTINES, "TRIGGER", "EVENT", "PACKAGE"})
_LOOPS: Final = frozenset({"LOOP", "WHILE", "REPEAT"})
_COMPOUND: Final = frozenset({"IF", "CASE", "FOR", *_LOOPS})
_STARTS: Final = frozenset({";", "BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT", ":"})
"""After these a statement begins."""

_GUARDED: Final = frozenset(
    {"TABLE", "TABLES", "VIEW", "INDEX", "KEY", "COLUMN", "DATABASE", "SCHEMA", "USER", "ROLE",
     "SEQUENCE", "CONSTRAINT", "PREPARE", "PARTITION", "SERVER", *_PROGRAMS}
)  # fmt: skip
"""After these an IF [NOT] EXISTS is a guard, and no statement."""

_DECLARES: Final = "AS"
"""Open after the AS or IS of a routine of ORACLE mode, or its DECLARE: declarations, then BEGIN."""

_PACKAGE: Final = "PACKAGE"
_TRAITS: Final = frozenset(
    {"COMMENT", "LANGUAGE", "SQL", "NOT", "DETERMINISTIC", "CONTAINS", "NO", "READS", "MODIFIES", "DATA",
     "SECURITY", "DEFINER", "INVOKER", "AUTHID", "CURRENT_USER"}
)  # fmt: skip
"""Words that may stand between a procedure's parameters and its body."""

_NAMED_AS: Final = frozenset({".", ",", "=", ")", "FROM", "AS", "<", ">"})
_HEAD_TOKENS: Final = 16
_PERHAPS: Final = re.compile(
    r"\W*(?:M!)?\d*\s*(?:CREATE|BEGIN|DECLARE|IF|CASE|LOOP|WHILE|REPEAT|FOR)\b", re.IGNORECASE
)


def has_body(sql: str) -> bool:
    """Whether the statement may have a body with semicolons of its own."""
    if _PERHAPS.match(sql) is None:
        return False
    head = [token.upper for _, token in zip(range(_HEAD_TOKENS), SYNTAX.tokens(sql), strict=False)]
    if head[:1] == ["CREATE"]:
        return any(word in _PROGRAMS for word in head)
    if head[:1] == ["BEGIN"]:
        return not set(head[1:2]) <= {"WORK", "TRANSACTION"}
    return bool({"DECLARE", *_COMPOUND} & set(head[:1]))


class Nesting:
    """What is open after the pieces read so far, each up to a semicolon."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self._first = ""
        self._before = ""
        self._header: _Header | None = None

    def read(self, piece: str) -> None:
        """The next piece, without its semicolon."""
        words = list(SYNTAX.tokens(piece))
        skip = -1
        created = None if self.open or self._before else _created(words)
        for number, token in enumerate(words):
            if self._before in _STARTS or not self._first:
                self._first = token.upper
            label = token.text == ">" and self._before == ">"
            if self._header is not None and self._header.read(
                token, words[number + 1 : number + 2]
            ):
                opens, self._header = self._header.opens, None
                if opens:
                    self.open.append(opens)
                    self._before = ";"
                    continue
            if number == created or (self._top == _PACKAGE and self._before == ";"):
                self._header = (
                    _Header(token.upper) if token.upper in {_PACKAGE, *_ROUTINES} else None
                )
            if self._header is None and number != skip:
                skip = number + 1 if self._take(token, words, number) else skip
            # The label `<<name>>` of ORACLE mode stands before a statement.
            self._before = ":" if label else token.upper or token.text
        self._before, self._first, self._header = ";", "", None

    @property
    def _top(self) -> str:
        return self.open[-1] if self.open else ""

    def _take(self, token: Token, words: Sequence[Token], number: int) -> bool:
        """Take one token in; whether the one after it belongs to it."""
        word = token.upper
        after = words[number + 1] if number + 1 < len(words) else Token("other", "", "")
        top = self._top
        starts = not self.open or self._before in _STARTS
        if word == "END":
            return self._end(top, after)
        if word == "CASE":
            self.open.append(word)
        elif word == "BEGIN":
            named = (after.upper or after.text) in _NAMED_AS or self._before == "."
            if top in (_DECLARES, _PACKAGE) and starts:
                self.open[-1] = word
            elif not named and (starts or self._first == "DECLARE"):
                self.open.append(word)
        elif word == "DECLARE" and not self.open:
            self.open.append(_DECLARES)
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
        if top in ("BEGIN", _PACKAGE) and self._before in _STARTS:
            self.open.pop()
        elif top and (after.upper == top or (after.upper == "LOOP" and top in ("FOR", "WHILE"))):
            self.open.pop()
            return True
        return False


class _Header:
    """The words from PACKAGE, PROCEDURE or FUNCTION to the AS or IS that ORACLE mode has before the body.

    Once read to its end, `opens` is what is open then; empty for a routine that has no such body.
    """

    def __init__(self, kind: str) -> None:
        self.opens = ""
        self._kind = kind
        self._depth = 0
        self._named = self._returns = False

    def read(self, token: Token, following: Sequence[Token]) -> bool:
        """Take the next word in; whether the header ends with it."""
        word = token.upper
        if token.kind == "other":
            self._depth += (token.text == "(") - (token.text == ")")
        if self._depth or token.kind == "other":
            return False
        if word in ("AS", "IS"):
            if not following or following[0].kind != "string":
                self.opens = _PACKAGE if self._kind == _PACKAGE else _DECLARES
            return True
        if word == "RETURN":
            self._returns = True
        named, self._named = self._named, self._named or word not in ("BODY", "IF", "NOT", "EXISTS")
        return named and not (self._returns or word in _TRAITS or token.kind != "word")


def _created(words: Sequence[Token]) -> int | None:
    """Which of the words says what kind of object a CREATE makes."""
    if not words or words[0].upper != "CREATE":
        return None
    kinds = _GUARDED | _PROGRAMS
    return next((at for at, word in enumerate(words[:_HEAD_TOKENS]) if word.upper in kinds), None)


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
