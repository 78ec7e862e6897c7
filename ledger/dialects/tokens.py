"""The tokens of one statement, lazily: as much SQL as classifying a statement needs, and no more.

Invariant: comments and literals are never taken for words; nothing is read
beyond what the caller asks for, so that a 10 MB INSERT costs its first words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

TokenKind = Literal["word", "quoted", "string", "other"]


class Token(NamedTuple):
    """`text` is as written, but unquoted for `quoted`; `upper` is set for words only."""

    kind: TokenKind
    text: str
    upper: str


END: Final = Token("other", "", "")


def readable(sql: str, *, escapes: bool) -> str:
    """The text with its quotes where they are, for what takes a backslash in them for an escape."""
    return sql if escapes else sql.replace("\\", "\\\\")


class Cursor:
    """Reads a statement's tokens one by one, with a look ahead."""

    def __init__(self, tokens: Iterator[Token]) -> None:
        self._tokens = tokens
        self._ahead: list[Token] = []

    def peek(self, distance: int = 0) -> Token:
        """The token `distance` places ahead; an empty one after the end."""
        while len(self._ahead) <= distance:
            self._ahead.append(next(self._tokens, END))
        return self._ahead[distance]

    def next(self) -> Token:
        """Take a token; an empty one after the end."""
        return self._ahead.pop(0) if self._ahead else next(self._tokens, END)

    @property
    def at_end(self) -> bool:
        """Whether every token was taken."""
        return self.peek() == END

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
