"""Split a SQLite script exactly as `sqlite3.complete_statement`, tried at each `;`, would.

The rule is that of SQLite's sqlite3_complete(): a `;` outside quotes and
comments ends a statement, but inside CREATE TRIGGER only `; END ;` does
(https://www.sqlite.org/c3ref/complete.html). Trying the function at every `;`
is quadratic, so the rule is spelled out in regular expressions here, and a
property test holds them to the function. Invariant: time is linear.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.dialects.patterns import BLOCK_COMMENT, repeated
from ledger.dialects.split import (
    SECTION,
    Script,
    Statement,
    after,
    require_complete,
    starts_its_line,
    unterminated,
)
from ledger.errors import ScriptError

# Letters, digits, `_`, `$` and all beyond ASCII: said by what it is not, which compiles in no time.
_WORD: Final = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_BLANKS: Final = " \t\n\f\r"
_GAP: Final = repeated(rf"[ \t\n\f\r]++|--[^\n]*+|{BLOCK_COMMENT}")
_LEAD: Final = re.compile(repeated(rf"[ \t\n\f\r;]++|--[^\n]*+|{BLOCK_COMMENT}"))
_LEAD_TO_SECTION: Final = re.compile(
    repeated(rf"[ \t\n\f\r]++|(?!{SECTION})--[^\n]*+|{BLOCK_COMMENT}")
)
# Everything up to the next `;`, the next section comment, or a quote or comment that never ends.
_BODY: Final = re.compile(
    repeated(
        r"[^;'\"`\[\-/]++|'[^']*+'|\"[^\"]*+\"|`[^`]*+`|\[[^\]]*+\]"
        rf"|(?!{SECTION})--[^\n]*+|-(?!-)|{BLOCK_COMMENT}|/(?!\*)"
    )
)
_TRIGGER_HEAD: Final = re.compile(
    rf"(?i:CREATE)(?!{_WORD}){_GAP}{repeated(rf'(?i:TEMP(?:ORARY)?)(?!{_WORD}){_GAP}')}"
    rf"(?i:TRIGGER)(?!{_WORD})"
)
# EXPLAIN, and whatever may stand between it and the CREATE TRIGGER that it explains.
_EXPLAIN: Final = re.compile(
    rf"(?i:EXPLAIN)(?!{_WORD})"
    + repeated(
        rf"[ \t\n\f\r]++|--[^\n]*+|{BLOCK_COMMENT}"
        rf"|(?!(?i:EXPLAIN|CREATE|TEMP|TEMPORARY|TRIGGER|END)(?!{_WORD})){_WORD}++"
        r"|'[^']*+'|\"[^\"]*+\"|`[^`]*+`|\[[^\]]*+\]|-(?!-)|/(?!\*)"
        rf"|(?!{_WORD})[^ \t\n\f\r;'\"`\[\-/]"
    )
)
_END: Final = re.compile(rf"(?i:END)(?!{_WORD})")
_QUOTES: Final = {
    "'": "a string literal",
    '"': "a quoted identifier",
    "`": "a quoted identifier",
    "[": "a quoted identifier",
    "/": "a comment",
}


def split_sqlite(text: str, *, file: str) -> Script:
    """Split a normalised text into statements.

    The last statement may lack its `;`. A line `-- migrate:…` ends a pending
    statement too, except inside a trigger. Raises ScriptError with file and line
    for a quote or comment that never ends and for an incomplete last statement.
    """
    statements: list[Statement] = []
    end = len(text)
    lead_start = 0
    line = 1
    while True:
        start = after(_LEAD, text, lead_start)
        lead = text[lead_start:start]
        lead_line = line
        line += lead.count("\n")
        if start == end:
            return Script(statements, lead, lead_line)
        first = text[start]
        create = after(_EXPLAIN, text, start) if first in "eE" else start
        if text[create : create + 1] in ("c", "C") and (head := _TRIGGER_HEAD.match(text, create)):
            stop = _trigger_end(text, head.end(), file=file, line=line)
        else:
            stop = after(_BODY, text, start)
            if stop < end and text[stop] != ";":
                stop = _plain_end(text, stop, file=file)
            if stop == end:
                require_complete(text[start:stop], file=file, line=line)
        if first == ".":
            _refuse_shell_command(text[start:stop], file=file, line=line)
        sql = text[start:stop].rstrip(_BLANKS)
        statements.append(Statement(sql, line, lead, lead_line))
        # A section comment that ended the statement stays on its own line in the next lead.
        lead_start = stop + 1 if text[stop : stop + 1] == ";" else start + len(sql)
        line += text.count("\n", start, lead_start)


def _plain_end(text: str, stop: int, *, file: str) -> int:
    """Where a statement without a trigger body ends: at a `;`, a section, or the text's end."""
    while stop < len(text) and text[stop] != ";":
        if text[stop] != "-":
            raise unterminated(_QUOTES[text[stop]], file=file, line=text.count("\n", 0, stop) + 1)
        if starts_its_line(text, stop):
            return stop
        stop = _skip_line(text, stop)
        stop = after(_BODY, text, stop)
    return stop


def _skip_line(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found < 0 else found


def _trigger_end(text: str, position: int, *, file: str, line: int) -> int:
    """Where a CREATE TRIGGER ends: at the `;` after an END that directly follows a `;`."""
    end = len(text)
    while True:
        position = after(_BODY, text, position)
        if position < end and text[position] == "-":
            position = _skip_line(text, position)
            continue
        if position < end and text[position] != ";":
            where = text.count("\n", 0, position) + 1
            raise unterminated(_QUOTES[text[position]], file=file, line=where)
        position = after(_LEAD, text, position)
        if position == end:
            raise ScriptError(
                "CREATE TRIGGER starts here and its body never ends",
                file=file,
                line=line,
                hint="A trigger's body ends with `; END;`.",
            )
        found = _END.match(text, position)
        if found is None:
            continue
        position = found.end()
        found_at = after(_LEAD_TO_SECTION, text, position)
        if found_at == end:
            return position
        if text[found_at] == ";":
            return found_at
        if text[found_at] == "-" and starts_its_line(text, found_at):
            return found_at


def _refuse_shell_command(statement: str, *, file: str, line: int) -> None:
    word = statement.split(None, 1)[0]
    raise ScriptError(
        f"{word!r} is a command of the sqlite3 shell, not SQL",
        file=file,
        line=line,
        hint="Remove it; only SQL statements reach the database.",
    )
