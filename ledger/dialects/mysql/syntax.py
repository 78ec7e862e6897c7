"""The syntax of MySQL and MariaDB."""

from __future__ import annotations

import re
from typing import Final

from ledger.dialects.mysql.effects import effects
from ledger.dialects.patterns import BACKTICKED, BLOCK_COMMENT, quoted
from ledger.dialects.syntax import WORD, Syntax

SINGLE: Final = quoted("'", backslash=True)
DOUBLE: Final = quoted('"', backslash=True)
STRING: Final = f"{SINGLE}|{DOUBLE}"
DOLLARS: Final = r"(?<![\w$])\$(?P<tag>\w*+)\$.*?\$(?P=tag)\$"
"""MySQL 9's dollar quotes, `$$ … $$` or `$tag$ … $tag$`, where a word could begin (needs DOTALL)."""


def literal(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


_LINE: Final = r"--(?=\s|\Z)[^\n]*+|#[^\n]*+"

SYNTAX: Final = Syntax(
    # The content of an executable comment counts; its brackets are skipped.
    token=re.compile(
        rf"(?P<skip>\s++|{_LINE}|/\*M?!\d*+|(?!/\*M?!){BLOCK_COMMENT}|\*/)"
        rf"|(?P<dollars>{DOLLARS})|{WORD}|(?P<quoted>{BACKTICKED})|(?P<string>{STRING})"
        r"|(?P<other>/\*.*|['\"`].*|.)",
        re.DOTALL,
    ),
    # Where a statement could begin, `--` starts a comment whatever follows it.
    opaque=re.compile(rf"--[^\n]*+|#[^\n]*+|{BLOCK_COMMENT}|{STRING}|{BACKTICKED}", re.DOTALL),
    unbound=re.compile(
        rf"{STRING}|{_LINE}|(?!/\*!|/\*M!|/\*\+)(?:{BLOCK_COMMENT}|(?P<open>(?:['\"]|/\*).*))",
        re.DOTALL,
    ),
    transactional_ddl=False,
    effects=effects,
)
