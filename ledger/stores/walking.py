"""The whole ledger as it is stored, page by page: rows of events, and the names and parts that they bring.

Invariant: a name or a part comes with the page of the event that it was introduced with.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from ledger.stores.base import Database, Filter, Row
from ledger.stores.blocks import stored_blocks
from ledger.stores.filters import pages
from ledger.stores.known import KINDS

PAGE: Final = 5_000
_NO_SEQ: Final = 2**40
_NAMES: Final = """
SELECT kind, id, name, seq FROM event_names WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"""
_PARTS: Final = "SELECT id, type, text, seq FROM event_parts WHERE id > ? ORDER BY id LIMIT ?"


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a page, in seq order, and the names (by kind and id) and parts introduced with them."""

    rows: list[Row]
    names: list[Row]
    parts: list[Row]
    blocks: tuple[list[Row], list[Row]] = ([], [])
    """What is stored of the blocks that end here: rows of `event_blocks` and of `event_times`."""


class _Source:
    """The rows of one small table in the order of their numbers, which is that of their seq."""

    def __init__(self, database: Database, sql: str, *values: object, number: int) -> None:
        self._database = database
        self._sql = sql
        self._values = values
        self._number = number
        self._after = 0
        self._ahead: list[Row] = []
        self._ended = False

    async def until(self, seq: int | None) -> list[Row]:
        """The next rows up to this seq; all that are left without one."""
        taken: list[Row] = []
        while True:
            for place, row in enumerate(self._ahead):
                if seq is not None and row[-1] > seq:
                    self._ahead = self._ahead[place:]
                    return taken
                taken.append(row)
            self._ahead = []
            if self._ended:
                return taken
            values = (*self._values, self._after, PAGE)
            self._ahead = await self._database.fetch(self._sql, values)
            self._ended = len(self._ahead) < PAGE
            if self._ahead:
                self._after = self._ahead[-1][self._number]


async def walk(database: Database) -> AsyncGenerator[Walked, None]:
    """All events with what they bring; what none has brought comes last."""
    names = [_Source(database, _NAMES, kind, number=1) for kind in KINDS]
    parts = _Source(database, _PARTS, number=0)
    last = 0
    async for rows in pages(database, Filter(), PAGE):
        last = rows[-1][0]
        yield Walked(
            rows=rows,
            names=[row for source in names for row in await source.until(last)],
            parts=await parts.until(last),
            blocks=await stored_blocks(database, rows[0][0], last),
        )
    rest = Walked(
        rows=[],
        names=[row for source in names for row in await source.until(None)],
        parts=await parts.until(None),
        blocks=await stored_blocks(database, last + 1, _NO_SEQ),
    )
    if rest.names or rest.parts or any(rest.blocks):
        yield rest
