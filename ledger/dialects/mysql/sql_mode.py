"""The sql_mode under which a file's statements are read: what a backslash and a double quote mean there.

Invariant: only SET statements of the file itself count; one whose value cannot be known
from its text leaves the mode as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from ledger.dialects.mysql.connection import assignments
from ledger.dialects.patterns import BACKTICKED, BLOCK_COMMENT, quoted
from ledger.dialects.steps import Check, Step
from ledger.dialects.tokens import Token

NO_BACKSLASH_ESCAPES: Final = "NO_BACKSLASH_ESCAPES"
ANSI_QUOTES: Final = "ANSI_QUOTES"
_IMPLY_ANSI: Final = frozenset({"ANSI", "DB2", "MAXDB", "MSSQL", "ORACLE", "POSTGRESQL"})
_BITS: Final = {2: ANSI_QUOTES, 20: NO_BACKSLASH_ESCAPES}
_MENTIONS: Final = re.compile(r"\A\W*(?:M!)?\d*\s*SET\b.*sql_mode", re.IGNORECASE | re.DOTALL)

Modes = frozenset[str]


class Quoting(msgspec.Struct, frozen=True):
    """How quotes are read: whether a backslash escapes, and whether `"` quotes names."""

    backslash: bool = True
    ansi: bool = False

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that make it so."""
        names = ((not self.backslash, NO_BACKSLASH_ESCAPES), (self.ansi, ANSI_QUOTES))
        return tuple(name for holds, name in names if holds)


class SqlMode:
    """The mode as it stands after the statements read so far. `base` is that of a new connection."""

    def __init__(self, base: Modes = frozenset()) -> None:
        self._base = self._now = base
        self._variables: dict[str, Modes] = {}

    @property
    def quoting(self) -> Quoting:
        """What it means for quotes."""
        ansi = ANSI_QUOTES in self._now or bool(self._now & _IMPLY_ANSI)
        return Quoting(backslash=NO_BACKSLASH_ESCAPES not in self._now, ansi=ansi)

    def begin(self) -> None:
        """A section begins: it has a connection of its own."""
        self._now = self._base
        self._variables.clear()

    def read(self, sql: str) -> None:
        """Take a statement in."""
        if _MENTIONS.match(sql[:10_000]) is None:
            return
        for variable, name, value in assignments(sql):
            modes = self._value(value)
            if modes is None:
                continue
            if variable:
                self._variables[name] = modes
            elif name == "sql_mode":
                self._now = modes

    def _value(self, words: Sequence[Token]) -> Modes | None:
        """The modes that the expression gives: the union of what it names, less what REPLACE takes away."""
        if not words:
            return None
        first = words[0]
        if len(words) == 1 and first.text.isdecimal():
            return frozenset(name for bit, name in _BITS.items() if int(first.text) >> bit & 1)
        texts = [_modes(word.text[1:-1]) for word in words if word.kind == "string"]
        names = [word.upper for word in words]
        found: Modes = frozenset()
        if names == ["DEFAULT"] or "GLOBAL" in names:
            found = self._base
        elif "SQL_MODE" in names:
            found = self._now
        elif first.text == "@" and len(words) == 2:
            return self._variables.get(words[1].text.strip("'\"").lower(), self._base)
        elif len(words) == 1 and first.upper:
            return _modes(first.upper)
        if first.upper == "REPLACE":
            return found - frozenset().union(*texts[:1])
        return found.union(*texts)


class Misread(NamedTuple):
    """A text that the connection's sql_mode divides otherwise than the file was divided, and by which modes.

    `question`: it is a check, or the step's guard or `-- verify-step`.
    """

    text: Step | Check
    modes: tuple[str, ...]
    question: bool = False


def misread(steps: Iterable[Step], modes: Modes, *, checks: Iterable[Check] = ()) -> Misread | None:
    """The first text whose literals and comments end elsewhere in a connection that begins with `modes`.

    A step's questions are asked in its own mode, checks on a connection as it begins.
    """
    assumed, live = SqlMode(), SqlMode(modes)
    for step in steps:
        for text in (step.sql, *step.questions):
            if _differ(text, assumed.quoting, live.quoting):
                return Misread(step, live.quoting.modes, question=text is not step.sql)
        assumed.read(step.sql)
        live.read(step.sql)
    for check in checks:
        if _differ(check.sql, Quoting(), SqlMode(modes).quoting):
            return Misread(check, SqlMode(modes).quoting.modes, question=True)
    return None


def _differ(sql: str, before: Quoting, after: Quoting) -> bool:
    return "\\" in sql and before != after and _spans(sql, before) != _spans(sql, after)


def _spans(sql: str, quoting: Quoting) -> list[tuple[int, int]]:
    """Where quoted texts and comments begin and end."""
    return [match.span() for match in _quoted(quoting).finditer(sql)]


@lru_cache
def _quoted(quoting: Quoting) -> re.Pattern[str]:
    single = quoted("'", backslash=quoting.backslash)
    double = quoted('"', backslash=quoting.backslash and not quoting.ansi)
    return re.compile(
        rf"{single}|{double}|{BACKTICKED}|--(?=\s|\Z)[^\n]*+|#[^\n]*+|(?!/\*M?!){BLOCK_COMMENT}|['\"`]",
        re.DOTALL,
    )


def _modes(text: str) -> Modes:
    return frozenset(mode.strip().upper() for mode in text.split(",") if mode.strip())
