"""What reading SQL asks of a dialect: the patterns of its tokens, literals and comments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Final, NamedTuple

from ledger.dialects.kinds import Unsettled
from ledger.dialects.patterns import repeated
from ledger.dialects.tokens import Cursor, Token

_PART: Final = r"[\w$]++|\{\w+\}"
_TOKEN: Final = itemgetter(2)
WORD: Final = rf"(?P<word>(?:{_PART}){repeated(_PART)})"


class Effects(NamedTuple):
    """What a statement does beside what it asks or assigns.

    `calls` are names that may be functions of the tenant's own, a qualified one with its dot.
    """

    calls: tuple[str, ...] = ()
    unsettled: Unsettled = ""


def no_effects(words: Iterable[Token]) -> Effects:
    """No effects, whatever the statement calls: its transaction undoes them."""
    return Effects()


class Syntax(NamedTuple):
    """How the statements of one dialect are read.

    `token` matches one token; its groups are `skip` and the kinds of tokens. A quote or comment that
    never ends takes the rest along, as it would in the database. `opaque` matches the literals,
    quoted names and comments of a whole file; `unbound` what a placeholder has no meaning in, with a
    group `open` for what never ends. `transactional_ddl`: a transaction undoes definitions, so that
    after a crash every statement of it has landed or none. `effects` reads what a query may do besides.
    """

    token: re.Pattern[str]
    opaque: re.Pattern[str]
    unbound: re.Pattern[str]
    transactional_ddl: bool
    effects: Callable[[Iterable[Token]], Effects] = no_effects

    def placed(self, sql: str) -> Iterator[tuple[int, int, Token]]:
        """All tokens of a statement with where they begin and end, comments skipped."""
        for match in self.token.finditer(sql):
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

    def tokens(self, sql: str) -> Iterator[Token]:
        """All tokens of a statement, comments skipped."""
        return map(_TOKEN, self.placed(sql))

    def cursor(self, sql: str) -> Cursor:
        """A cursor before the statement's first token."""
        return Cursor(self.tokens(sql))
