"""Split a MySQL or MariaDB script by the rules of the `mysql` and `mariadb` clients.

The rules: DELIMITER stands on a line of its own with nothing pending; `--` is
a comment only before white space (or where a statement would start); `#` and
`/* */` are comments; an optimizer hint `/*+ */` belongs to its statement whole, with
the delimiters and quotes in it; `/*! */` and `/*M! */` are no comments, so that the
delimiter splits inside them; a backslash escapes inside quotes but not
inside backticks; outside quotes one at a line's end is dropped. Commands of
the client are refused by name, but for the lines of dumps that only it understands.
Invariant: time is linear in the text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from ledger.dialects.mysql.dumps import CLIENT_LINE
from ledger.dialects.mysql.nesting import Nesting, has_body
from ledger.dialects.mysql.sql_mode import Modes, Quoting, SqlMode
from ledger.dialects.mysql.syntax import DOLLARS
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

MAX_DELIMITER_CHARACTERS: Final = 15
_HEAD_CHARACTERS: Final = 2_000
_SECTION: Final = re.compile(SECTION)

_PLAIN_COMMENT: Final = rf"(?!/\*[!+]|/\*M!){BLOCK_COMMENT}"
_COMMENT_OR_HINT: Final = rf"(?!/\*!|/\*M!){BLOCK_COMMENT}"
_BLANK: Final = r"[ \t\n\v\f\r]"
_BLANKS: Final = " \t\n\v\f\r"
_SHORT_COMMANDS: Final = {
    "?": "help", "c": "clear", "C": "charset", "d": "delimiter", "e": "edit", "g": "go",
    "G": "ego", "h": "help", "n": "nopager", "p": "print", "P": "pager", "q": "quit",
    "r": "connect", "R": "prompt", "s": "status", "t": "notee", "T": "tee", "u": "use",
    "w": "nowarning", "W": "warnings", "x": "resetconnection", "-": "sandbox", "!": "system",
    ".": "source", "#": "rehash",
}  # fmt: skip
# A word that starts a line where a statement would start; `alone` ones only when nothing follows.
_COMMAND: Final = re.compile(
    r"(?P<word>delimiter|use|source|system|connect|pager|prompt|tee|charset|help)(?![\w$])"
    r"|(?P<alone>clear|edit|ego|exit|go|nopager|notee|nowarning|print|quit|rehash|status"
    r"|warnings|sandbox|resetconnection)[ \t]*(?:;[ \t]*)?(?:\n|\Z)",
    re.IGNORECASE,
)
_DELIMITER_LINE: Final = re.compile(
    r"(?i:delimiter)[ \t]+(?P<quote>['\"`]?)(?P<value>\S+?)(?P=quote)(?=\s|\Z)(?P<rest>[^\n]*)"
)
_BACKSLASHES: Final = (
    " If it is meant for NO_BACKSLASH_ESCAPES or ANSI_QUOTES, begin it with SET sql_mode = '…'."
)
_HINTS: Final = {
    "use": "A migration runs in its tenant's own database; leave the name out, and take a dump without --databases.",
    "source": "Put that file's statements into this one, or make it a migration of its own.",
    "ego": "End the statement with ; instead.",
    "go": "End the statement with ; instead.",
}


class _Grammar(NamedTuple):
    """The patterns for one delimiter: what may stand before a statement, and a statement's body."""

    lead: re.Pattern[str]
    body: re.Pattern[str]


@lru_cache(maxsize=64)
def _grammar(delimiter: str, quoting: Quoting) -> _Grammar:
    """Compile the patterns. The delimiter is looked for before comments, as the client does."""
    stop = rf"(?!{re.escape(delimiter)})"
    section = rf"(?!{SECTION})" if delimiter == ";" else ""
    plain = "".join(rf"|{re.escape(char)}" for char in {delimiter[0], "$"} - set("'\"`#-/\\"))
    single, double = (
        mark + repeated(f"[^{mark}\\\\]++|\\\\." if escapes else f"[^{mark}]++") + mark
        for mark, escapes in (
            ("'", quoting.backslash),
            ('"', quoting.backslash and not quoting.ansi),
        )
    )
    body = (
        rf"[^'\"`#\-/$\\{re.escape(delimiter[0])}]++|{stop}(?:{single}|{double}|`[^`]*+`|{DOLLARS}"
        rf"|#[^\n]*+|{section}--(?={_BLANK}|\Z)[^\n]*+|-(?!-(?:{_BLANK}|\Z))"
        rf"|{_COMMENT_OR_HINT}|/(?=\*!|\*M!)|/(?!\*)|\\N{plain})"
    )
    return _Grammar(
        re.compile(
            repeated(rf"{_BLANK}++|{stop}(?:--[^\n]*+|#[^\n]*+|{_PLAIN_COMMENT}|{CLIENT_LINE})")
        ),
        re.compile(repeated(body), re.DOTALL),
    )


def split_mysql(text: str, *, file: str, modes: Modes = frozenset()) -> Script:
    """Split a normalised text into statements.

    The last statement may lack its delimiter; with the delimiter `;`, a line
    `-- migrate:…` ends a pending statement too. Text that is only a comment is no
    statement. `modes` is the sql_mode that the file begins under; its own SETs change it.
    With the delimiter `;`, a routine's body goes on to its END. Raises ScriptError with file
    and line for a command of the client, a quote or comment that never ends, and an
    incomplete last statement.
    """
    statements: list[Statement] = []
    end = len(text)
    delimiter = ";"
    mode = SqlMode(modes)
    lead_start = position = 0
    lead_line = line = 1
    while True:
        grammar = _grammar(delimiter, mode.quoting)
        start = after(grammar.lead, text, position)
        line += text.count("\n", position, start)
        if start == end:
            return Script(statements, text[lead_start:end], lead_line)
        if text.startswith(delimiter, start):
            position = start + len(delimiter)
            continue
        if (command := _COMMAND.match(text, start)) is not None:
            delimiter, position = _client_command(text, start, command, file=file, line=line)
            continue
        if _SECTION.search(text, lead_start, start) is not None:
            mode.begin()
            grammar = _grammar(delimiter, mode.quoting)
        stop, dropped = _statement_end(text, start, grammar, delimiter, file=file)
        if delimiter == ";" and has_body(text[start : min(stop, start + _HEAD_CHARACTERS)]):
            stop, dropped = _body_end(text, start, (stop, dropped), grammar, file=file, line=line)
        sql = _without(text, start, stop, dropped).rstrip(_BLANKS)
        escapes = mode.quoting.backslash
        mode.read(sql)
        if stop == end:
            require_complete(sql, file=file, line=line)
        if sql:
            lead = text[lead_start:start]
            statements.append(Statement(sql, line, lead, lead_line, escapes))
        if stop < end and not text.startswith(delimiter, stop):
            # A section comment ended it: that line belongs to the next lead.
            lead_start = position = text.rfind("\n", 0, stop)
        else:
            lead_start = position = min(stop + len(delimiter), end)
        line += text.count("\n", start, position)
        lead_line = line


def _statement_end(
    text: str, start: int, grammar: _Grammar, delimiter: str, *, file: str
) -> tuple[int, list[int]]:
    """Where the statement ends, and the stray backslashes in it."""
    dropped: list[int] = []
    stop = after(grammar.body, text, start)
    while stop < len(text) and not text.startswith(delimiter, stop):
        char = text[stop]
        if char == "\\":
            if text[stop + 1 : stop + 2] not in ("", "\n"):
                raise _refused_backslash(text, stop, file=file)
            dropped.append(stop)
            stop += 1
        elif char == "-":
            if starts_its_line(text, stop):
                break
            found = text.find("\n", stop)
            stop = len(text) if found < 0 else found
        else:
            what = {"/": "a comment", "`": "a quoted identifier"}.get(char, "a string literal")
            error = unterminated(what, file=file, line=text.count("\n", 0, stop) + 1)
            if char in "'\"" and "\\" in text[stop:]:
                error.hint += _BACKSLASHES
            raise error
        stop = after(grammar.body, text, stop)
    return stop, dropped


def _body_end(
    text: str,
    start: int,
    first: tuple[int, list[int]],
    grammar: _Grammar,
    *,
    file: str,
    line: int,
) -> tuple[int, list[int]]:
    """Where the statement whose first piece ends at `first` is closed. Raises ScriptError if it never is."""
    nesting = Nesting()
    stop, dropped = first
    nesting.read(text[start:stop])
    while nesting.open and text.startswith(";", stop):
        begin = stop + 1
        stop, more = _statement_end(text, begin, grammar, ";", file=file)
        dropped = [*dropped, *more]
        nesting.read(text[begin:stop])
    if nesting.open:
        raise ScriptError(
            f"the body that starts here is never closed: {nesting.open[-1]} has no END",
            file=file,
            line=line,
            hint="Add the END; or put DELIMITER $$ on a line before it, end it with $$, and write "
            "DELIMITER ; on a line after.",
        )
    return stop, dropped


def _without(text: str, start: int, stop: int, dropped: list[int]) -> str:
    """`text[start:stop]` without the characters at `dropped`."""
    if not dropped:
        return text[start:stop]
    edges = [start - 1, *dropped, stop]
    return "".join(text[left + 1 : right] for left, right in pairwise(edges))


def _client_command(
    text: str, start: int, command: re.Match[str], *, file: str, line: int
) -> tuple[str, int]:
    """The new delimiter and where to go on; every other command is refused."""
    word = (command["word"] or command["alone"]).lower()
    if word != "delimiter":
        raise ScriptError(
            f"{word!r} is a command of the mysql client, not SQL",
            file=file,
            line=line,
            hint=_HINTS.get(word, "Remove it; only SQL statements reach the database."),
        )
    found = _DELIMITER_LINE.match(text, start)
    problem = ""
    if not starts_its_line(text, start):
        problem = (
            "DELIMITER must start its line; the client would take it for a part of a statement"
        )
    elif found is None:
        problem = "DELIMITER needs the new delimiter after it"
    elif "\\" in found["value"]:
        problem = "a delimiter cannot hold a backslash"
    elif len(found["value"]) > MAX_DELIMITER_CHARACTERS:
        problem = f"a delimiter has at most {MAX_DELIMITER_CHARACTERS} characters"
    elif (rest := found["rest"].strip()) and not rest.startswith(("--", "#", "/*")):
        problem = f"the client drops what follows the delimiter on its line: {rest[:40]!r}"
    if problem or found is None:
        raise ScriptError(
            problem, file=file, line=line, hint="Write it on a line of its own, as DELIMITER $$."
        )
    return found["value"], found.end()


def _refused_backslash(text: str, position: int, *, file: str) -> ScriptError:
    char = text[position + 1]
    name = _SHORT_COMMANDS.get(char)
    what = f"a command of the mysql client ({name})" if name else "no command the client knows"
    return ScriptError(
        f"\\{char} is {what}, not SQL",
        file=file,
        line=text.count("\n", 0, position) + 1,
        hint=_HINTS.get(name or "", "Remove it; only SQL statements reach the database."),
    )
