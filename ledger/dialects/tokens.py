"""The tokens of one statement, lazily: as much SQL as classifying a statement needs, and no more.

Invariant: comments and literals are never taken for words; nothing is read
beyond what the caller asks for, so that a 10 MB INSERT costs its first words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from ledger.dialects.patterns import BACKTICKED, DOLLARS, DOUBLE, MYSQL_STRING, SINGLE, repeated
from ledger.dialects.split import BLOCK_COMMENT
from ledger.dialects.steps import DialectName

TokenKind = Literal["word", "quoted", "string", "other"]


class Token(NamedTuple):
    """`text` is as written, but unquoted for `quoted`; `upper` is set for words only."""

    kind: TokenKind
    text: str
    upper: str


_PART: Final = r"[\w$]++|\{\w+\}"
_WORD: Final = rf"(?P<word>(?:{_PART}){repeated(_PART)})"
# A quote or comment that never ends takes the rest along, as it would in the database.
_SQLITE: Final = re.compile(
    rf"(?P<skip>\s++|--[^\n]*+|{BLOCK_COMMENT})|{_WORD}"
    rf"|(?P<quoted>{BACKTICKED}|{DOUBLE}|\[[^\]]*+\])"
    rf"|(?P<string>{SINGLE})|(?P<other>/\*.*|['\"`\[].*|.)",
    re.DOTALL,
)
# An executable comment's content counts; its brackets are skipped.
_MYSQL: Final = re.compile(
    rf"(?P<skip>\s++|--(?=\s|\Z)[^\n]*+|#[^\n]*+|/\*M?!\d*+|(?!/\*M?!){BLOCK_COMMENT}|\*/)"
    rf"|(?P<dollars>{DOLLARS})|{_WORD}|(?P<quoted>{BACKTICKED})|(?P<string>{MYSQL_STRING})|(?P<other>/\*.*|['\"`].*|.)",
    re.DOTALL,
)
_END: Final = Token("other", "", "")


def placed(sql: str, dialect: DialectName) -> Iterator[tuple[int, int, Token]]:
    """All tokens of a statement with where they begin and end, comments skipped."""
    for match in (_MYSQL if dialect == "mysql" else _SQLITE).finditer(sql):
        kind = match.lastgroup
        text = match[0]
        if kind == "word":
            yield match.start(), match.end(), Token("word", text, text.upper())
        elif kind == "quoted":
            mark = text[0]
            name = text[1:-1].replace(mark * 2, mark)
            yield match.start(), match.end(), Token("quoted", name, "")
        elif kind in ("string", "dollars"):
            yield match.start(), match.end(), Token("string", text, "")
        elif kind == "other":
            yield match.start(), match.end(), Token("other", text, "")


def tokens(sql: str, dialect: DialectName) -> Iterator[Token]:
    """All tokens of a statement, comments skipped."""
    return (token for _, _, token in placed(sql, dialect))


class Cursor:
    """Reads a statement's tokens one by one, with a look ahead."""

    def __init__(self, sql: str, dialect: DialectName) -> None:
        self._tokens = tokens(sql, dialect)
        self._ahead: list[Token] = []

    def peek(self, distance: int = 0) -> Token:
        """The token `distance` places ahead; an empty one after the end."""
        while len(self._ahead) <= distance:
            self._ahead.append(next(self._tokens, _END))
        return self._ahead[distance]

    def next(self) -> Token:
        """Take a token; an empty one after the end."""
        return self._ahead.pop(0) if self._ahead else next(self._tokens, _END)

    @property
    def at_end(self) -> bool:
        """Whether every token was taken."""
        return self.peek() == _END

    def take(self, *words: str) -> bool:
        """Take these words if exactly they come next."""
        for distance, word in enumerate(words):
            if self.peek(distance).upper != word:
                return False
        del self._ahead[: len(words)]
        return True

    def take_any(self, words: frozenset[str]) -> bool:
        """Take one word if it is among `words`."""
        return self.peek().upper in words and bool(self.next())

    def take_other(self, text: str) -> bool:
        """Take a punctuation mark if it comes next."""
        token = self.peek()
        return token.kind == "other" and token.text == text and bool(self.next())

    def guard(self) -> bool:
        """Take IF EXISTS or IF NOT EXISTS."""
        return self.take("IF", "NOT", "EXISTS") or self.take("IF", "EXISTS")

    def name(self) -> str:
        """Take a name, unquoted; parts of a qualified one are joined by a dot. Empty if none comes."""
        parts: list[str] = []
        while self.peek().kind in ("word", "quoted") or (not parts and self._is_string_name()):
            token = self.next()
            parts.append(token.text[1:-1] if token.kind == "string" else token.text)
            if not self.take_other("."):
                break
        return ".".join(parts)

    def _is_string_name(self) -> bool:
        """SQLite takes 'name' for an identifier where only one can stand."""
        return self.peek().kind == "string"

    def skip_to(self, word: str) -> bool:
        """Skip tokens up to and with `word`, outside parentheses; false if it never comes."""
        depth = 0
        while not self.at_end:
            token = self.next()
            if depth == 0 and token.upper == word:
                return True
            depth += _depth(token)
        return False

    def rest(self) -> Iterator[Token]:
        """Take all tokens that are left."""
        while not self.at_end:
            yield self.next()

    def clauses(self) -> list[list[Token]]:
        """The rest, split at the commas outside parentheses."""
        result: list[list[Token]] = [[]]
        depth = 0
        while not self.at_end:
            token = self.next()
            depth += _depth(token)
            if depth == 0 and token.kind == "other" and token.text == ",":
                result.append([])
            else:
                result[-1].append(token)
        return result


def _depth(token: Token) -> int:
    if token.kind != "other":
        return 0
    return (token.text == "(") - (token.text == ")")
