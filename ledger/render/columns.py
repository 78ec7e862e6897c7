"""A column of a table, and how many columns of a terminal a text takes."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple


class Column(NamedTuple):
    """A column: its key in the row, its title in a table, and whether it is a number."""

    key: str
    title: str
    number: bool = False


def width_of(text: str) -> int:
    """Terminal columns: wide characters take two, combining and joining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
