"""The statements of a dump, one at a time, by the form that the dump programs write.

They end each statement with the delimiter at a line's end, and escape line feeds in
data; only texts of routines, views and tables can hold a delimiter at a line's end,
inside quotes or a comment. A routine is written under the sql_mode that it was made
with, which says what a backslash means in its quotes. Invariant: memory holds one
statement and one chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ledger.dialects.mysql import syntax as mysql
from ledger.dialects.patterns import BLOCK_COMMENT, DOUBLE, SINGLE, repeated
from ledger.engines.mysql.backup.container import read_contents, read_sql

STATEMENT_BYTES_MAX: Final = 1 << 30

_DELIMITER: Final = re.compile(rb"\ADELIMITER (\S+)\s*\Z")
_DATA: Final = re.compile(rb"\s*(?:INSERT|REPLACE)\b", re.IGNORECASE)
_SANDBOX: Final = re.compile(rb"\A/\*M?!999999\\- ")
_MODE: Final = re.compile(rb"(?:/\*!\d+ )?SET sql_mode\s*=\s*(?:'([A-Z_,]*)'|@)", re.IGNORECASE)


_BODY: Final = r"(?<=AS )\$(?P<tag>\w*+)\$.*?\$(?P=tag)\$"
"""A library, or a routine in another language, as MySQL 9 writes it. Elsewhere a $ is part of a name."""


def _closed(strings: str) -> re.Pattern[bytes]:
    """Matches a text whose quotes and comments all have an end."""
    return re.compile(
        (
            repeated(
                rf"[^'\"`#/\-$]++|{_BODY}|(?<!AS )\$|\$(?!\w*\$)|{strings}|`[^`]*+`|#[^\n]*+\n|--[ \t][^\n]*+\n"
                rf"|(?!/\*M?!){BLOCK_COMMENT}|/(?!\*(?!M?!))|-(?!-[ \t])"
            )
            + r"\Z"
        ).encode(),
        re.DOTALL,
    )


_ESCAPES: Final = _closed(mysql.STRING)
_ANSI: Final = _closed(f"{mysql.SINGLE}|{DOUBLE}")
_NO_ESCAPES: Final = _closed(f"{SINGLE}|{DOUBLE}")


def statements(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Statements without their delimiters. Raises ValueError for a dump that breaks off."""
    delimiter = b";"
    closed = _ESCAPES
    parts: list[bytes] = []
    size = 0
    for line in _lines(chunks):
        stripped = line.rstrip()
        if not parts:
            if not stripped or stripped.startswith(b"--") or _SANDBOX.match(stripped):
                continue
            if found := _DELIMITER.match(stripped):
                delimiter = found[1]
                continue
        parts.append(line)
        size += len(line)
        if size > STATEMENT_BYTES_MAX:
            raise ValueError(f"it holds a statement of more than {STATEMENT_BYTES_MAX} bytes")
        if not stripped.endswith(delimiter):
            continue
        text = b"".join(parts).rstrip()[: -len(delimiter)].rstrip()
        if _DATA.match(text) or closed.match(text + b"\n"):
            parts, size = [], 0
            if found := _MODE.match(text):
                closed = _closed_under(found[1] or b"")
            if text:
                yield text
    if parts:
        raise ValueError("its last statement has no end")


def _closed_under(mode: bytes) -> re.Pattern[bytes]:
    """The pattern for texts of routines that were made with this sql_mode."""
    words = mode.upper().split(b",")
    if b"NO_BACKSLASH_ESCAPES" in words:
        return _NO_ESCAPES
    return _ANSI if b"ANSI_QUOTES" in words else _ESCAPES


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their line feeds; a long one is put together once."""
    rest: list[bytes] = []
    for chunk in chunks:
        first, *lines = chunk.split(b"\n")
        rest.append(first)
        for line in lines:
            yield b"".join(rest) + b"\n"
            rest = [line]
    if last := b"".join(rest):
        yield last


def read_through(path: Path, *, sql_bytes: int) -> None:
    """Read every statement of a backup. Raises ValueError for one that breaks off, OSError."""
    for _ in statements(read_sql(path, limit_bytes=sql_bytes)):
        pass


def check(path: Path) -> None:
    read_through(path, sql_bytes=read_contents(path).sql_bytes)
