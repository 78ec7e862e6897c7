"""Words and numbers for a person to read.

Invariant: what a database or a file said reaches the terminal without control
characters, so that a name cannot move the cursor or colour the screen.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, TextIO

from ledger.events import HIDDEN

_CONTROL: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(32), *HIDDEN)
    if chr(code) not in "\n\t"
}


_JSON_CONTROL: Final = {code: f"\\u{code:04x}" for code in HIDDEN}

_OWN_NUMBER: Final = re.compile(r"^step\s+\d+\s*[:.)-]\s*", re.IGNORECASE)


def plain(text: str) -> str:
    """The text with control characters and direction overrides written out; line feeds and tabs stay."""
    return text.translate(_CONTROL)


def write_lines(lines: Iterable[str], *, out: TextIO) -> None:
    """Write each line, without control characters whatever it was made of."""
    for line in lines:
        out.write(plain(line) + "\n")


def plain_json(text: str) -> str:
    """The same JSON, with the control characters that JSON lets stand in strings escaped too."""
    return text.translate(_JSON_CONTROL)


FORMULA: Final = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What a cell begins with that a spreadsheet takes for a formula, or strips before it looks; the last are wide ones."""


def csv_cell(text: str) -> str:
    """A text for a cell: control characters written out, and an apostrophe before what would be a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    shown = plain(text)
    return f"'{shown}" if text.lstrip(" ")[:1] in tuple(FORMULA) else shown


def one_line(text: str) -> str:
    """The text on one line, for a cell or a log line."""
    return " ".join(plain(text).split())


def cell(value: object) -> str:
    """A value as a table shows it: nothing for None, lists joined, true and false as yes and no."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return one_line(json.dumps(value, default=str, ensure_ascii=False))
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(cell(item) for item in value)
    return one_line(str(value))


def seconds_text(seconds: float) -> str:
    """A duration: `3 ms`, `1.24 s`, `2 m 05 s`, `1 h 02 m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def bytes_text(count: int) -> str:
    """A size in binary units: `512 B`, `12.3 KiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """`1 tenant`, `100 tenants`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def step_name(number: int, name: str) -> str:
    """`Step 3: Add column`, once also where the author's own name says `Step 3: …`."""
    return f"Step {number}: {bare_step_name(name)}"


def bare_step_name(name: str) -> str:
    """A step's name without a number of its own."""
    return _OWN_NUMBER.sub("", one_line(name))


def time_text(at: str | None, *, out: TextIO) -> str:
    """A recorded time to the second: on a terminal local, `2026-11-22 00:10:04+01:00`, else
    `2026-11-21T23:10:04Z`. Empty for none.
    """
    if not at:
        return ""
    if out.isatty():
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(at).astimezone().isoformat(" ", "seconds")
    return f"{at[:19]}Z"


def shell_word(text: str) -> str:
    """The text as one word for a shell, quoted only where it must be."""
    safe = all(char.isalnum() or char in "-_./:=@%+," for char in text) and text
    return text if safe else "'" + text.replace("'", "'\\''") + "'"


class Symbols:
    """✓, ⊘ and ✗ where the stream can show them, plain letters where it cannot."""

    def __init__(self, stream: TextIO | None = None) -> None:
        encoding = (getattr(stream or sys.stdout, "encoding", None) or "ascii").lower()
        rich = encoding.replace("-", "").startswith("utf")
        self.done, self.skipped, self.failed = ("✓", "⊘", "✗") if rich else ("+", "-", "x")
