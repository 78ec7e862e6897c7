"""The syntax of SQLite."""

from __future__ import annotations

import re
from typing import Final

from ledger.dialects.patterns import BACKTICKED, BLOCK_COMMENT, DOUBLE, SINGLE, repeated
from ledger.dialects.syntax import WORD, Syntax

COMMENT: Final = r"/\*" + repeated(r"[^*]++|\*(?!/)") + r"(?:\*/|\Z)"
"""A block comment as SQLite itself reads it: one that never ends is one all the same."""


def literal(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


_LINE: Final = r"--[^\n]*+"
_NAME: Final = rf"{BACKTICKED}|{DOUBLE}|\[[^\]]*+\]"

SYNTAX: Final = Syntax(
    token=re.compile(
        rf"(?P<skip>\s++|{_LINE}|{BLOCK_COMMENT})|{WORD}|(?P<quoted>{_NAME})|(?P<string>{SINGLE})"
        r"|(?P<other>/\*.*|['\"`\[].*|.)",
        re.DOTALL,
    ),
    opaque=re.compile(rf"{_LINE}|{COMMENT}|{SINGLE}|{_NAME}", re.DOTALL),
    # A text in double quotes is an identifier, in which placeholders are meant.
    unbound=re.compile(rf"{SINGLE}|{_LINE}|{BLOCK_COMMENT}|(?P<open>(?:'|/\*).*)", re.DOTALL),
    transactional_ddl=True,
)
