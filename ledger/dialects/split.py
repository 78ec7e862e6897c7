"""What both splitters give back: a script's statements with the comments that lead to them.

Invariant: `lead` and `sql` of all statements and the tail, put together again
with the separators, are the text; nothing of it is lost but stray backslashes
(MySQL) and white space.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ledger.dialects.patterns import BLOCK_COMMENT
from ledger.dialects.tokens import readable
from ledger.errors import ScriptError


class Statement(NamedTuple):
    """One statement without its delimiter. `line` is where it starts, counted from 1.

    `lead` is what stands between the statement before and this one: comments
    and white space; `lead_line` is the line of its first character. `escapes` is false under
    NO_BACKSLASH_ESCAPES. A tuple and no Struct, since a dump has hundreds of thousands of them.
    """

    sql: str
    line: int
    lead: str
    lead_line: int
    escapes: bool = True

    @property
    def readable(self) -> str:
        """The text as its tokens are read."""
        return readable(self.sql, escapes=self.escapes)


class Script(NamedTuple):
    """A text, split. `tail` is what follows the last statement: comments and white space."""

    statements: list[Statement]
    tail: str
    tail_line: int


SECTION: Final = r"--[ \t]*migrate[ \t]*:"
"""The start of a line comment that opens a section, and so ends a statement that lacks its delimiter."""

_SKIPPED: Final = re.compile(
    rf"'[^']*+'|\"[^\"]*+\"|`[^`]*+`|--[^\n]*+|{BLOCK_COMMENT}|/\*.*|(?P<open>\()|(?P<close>\))",
    re.DOTALL,
)


def starts_its_line(text: str, position: int) -> bool:
    """Whether only blanks stand before `position` on its line."""
    before = text[text.rfind("\n", 0, position) + 1 : position]
    return not before.strip(" \t")


def require_complete(sql: str, *, file: str, line: int) -> None:
    """Refuse a last statement that lacks its delimiter and has an open parenthesis too.

    Raises ScriptError. A file may end without a `;`; a file that was cut may not run.
    """
    depth = 0
    for match in _SKIPPED.finditer(sql):
        depth += (match.lastgroup == "open") - (match.lastgroup == "close")
    if depth > 0:
        raise ScriptError(
            "the last statement is not complete: a parenthesis is never closed, and there is no ;",
            file=file,
            line=line,
            hint="Finish the statement; perhaps the file was cut off.",
        )


def unterminated(what: str, *, file: str, line: int) -> ScriptError:
    """The error for a quote or comment that starts at `line` and never ends."""
    return ScriptError(
        f"{what} starts here and never ends",
        file=file,
        line=line,
        hint="Close it; everything after it would be taken for a part of it.",
    )


def after(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where a match at `position` ends, for a pattern that always matches (it may match nothing)."""
    match = pattern.match(text, position)
    return match.end() if match else position
