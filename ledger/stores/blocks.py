"""Which blocks of events hold what: so that a filter reads a few of them, and not the whole ledger.

For every BLOCK seqs that are full, `event_blocks` holds each type, run, actor and part in them once,
and `event_times` their first and last `at`. Invariant: both follow from `events`; they are written by
the append that fills the block. The events behind the last full block are few, and always read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

from ledger.stores.base import Connection, Database, Row
from ledger.stores.known import ACTOR, RUN, TYPE
from ledger.stores.schema import BLOCKS, TIMES

BLOCK: Final = 1_024
"""Stored rows depend on it: never change it."""
PART: Final = 5
"""The kind of parts, beside those of names."""
BLOCKS_AT_ONCE: Final = 32

_SUMMARY: Final = """
SELECT type, run, actor, part, MIN(at), MAX(at) FROM events
WHERE seq >= ? AND seq < ? GROUP BY type, run, actor, part"""
_LAST: Final = "SELECT MAX(block) FROM event_times"
_STORED: Final = """
SELECT block, kind, value FROM event_blocks WHERE block >= ? AND block < ?
ORDER BY block, kind, value"""
_STORED_TIMES: Final = """
SELECT block, first_at, last_at FROM event_times WHERE block >= ? AND block < ? ORDER BY block"""
_FULL: Final = """
SELECT block FROM event_times WHERE block >= ? AND block <= ?{conditions} ORDER BY block{order} LIMIT ?"""

Span = tuple[int, int | None]
"""The first and the last seq to look at; None is the ledger's end."""


def summary(block: int, rows: Iterable[Row]) -> tuple[list[Row], Row]:
    """The rows for a full block, from its types, runs, actors, parts and times, each at least once."""
    kinds, runs, actors, parts, least, most = zip(*rows, strict=True)
    values = ((TYPE, kinds), (RUN, runs), (ACTOR, actors), (PART, parts))
    found = sorted((kind, value) for kind, some in values for value in set(some))
    return [(block, *one) for one in found], (block, min(least), max(most))


class BlockCheck:
    """Which blocks are not what their events give: feed all events in seq order, each page with what
    is stored of the blocks that it ends.
    """

    def __init__(self) -> None:
        self.wrong: list[int] = []
        self._block = 0
        self._held: list[Row] = []

    def feed(self, rows: Sequence[Row], values: Sequence[Row], times: Sequence[Row]) -> None:
        """`values` are rows of `event_blocks`, in their order, and `times` of `event_times`."""
        stored: dict[int, tuple[list[Row], list[Row]]] = {}
        for place, some in enumerate((values, times)):
            for row in some:
                stored.setdefault(row[0], ([], []))[place].append(row)
        held = self._held
        held += rows
        while held and held[-1][0] + 1 >= (self._block + 1) * BLOCK:
            end = (self._block + 1) * BLOCK - held[0][0]
            of = [(row[3], row[5], row[6], row[7], row[4], row[4]) for row in held[:end]]
            expected, when = summary(self._block, of)
            if stored.pop(self._block, None) != (expected, [when]):
                self.wrong.append(self._block)
            self._block += 1
            held = held[end:]
        self._held = held
        self.wrong += stored


async def stored_blocks(
    database: Database, first_seq: int, last_seq: int
) -> tuple[list[Row], list[Row]]:
    """What is stored of the blocks that end between these seqs."""
    between = (first_seq // BLOCK, (last_seq + 1) // BLOCK)
    return await database.fetch(_STORED, between), await database.fetch(_STORED_TIMES, between)


async def rebuild(connection: Connection) -> None:
    """Write all of it down anew, under the head row's lock."""
    await connection.lock_head()
    await connection.execute("DELETE FROM event_blocks")
    await connection.execute("DELETE FROM event_times")
    ((last,),) = await connection.execute("SELECT MAX(seq) FROM events")
    await summarise(connection, 0, last or 0)


async def summarise(connection: Connection, before: int, after: int) -> None:
    """Write down what is in the blocks that the events after seq `before`, up to `after`, have filled."""
    for block in range((before + 1) // BLOCK, (after + 1) // BLOCK):
        rows = await connection.execute(_SUMMARY, (block * BLOCK, (block + 1) * BLOCK))
        values, times = summary(block, rows)
        await connection.insert(BLOCKS, values)
        await connection.insert(TIMES, [times])


async def spans(
    database: Database,
    conditions: Sequence[str],
    values: Sequence[object],
    first: int,
    last: int | None,
    *,
    newest_first: bool,
) -> AsyncGenerator[Span, None]:
    """Where between two seqs events can be that match: `conditions` are on `event_times`."""
    ((full,),) = await database.fetch(_LAST, ())
    end = first if full is None else max(first, (full + 1) * BLOCK)
    behind: list[Span] = [(end, last)] if last is None or end <= last else []
    if newest_first:
        for span in behind:
            yield span
    if end > first:
        low, high = first // BLOCK, min(end - 1, end if last is None else last) // BLOCK
        sql = _FULL.format(
            conditions="".join(f" AND {one}" for one in conditions),
            order=" DESC" if newest_first else "",
        )
        while rows := await database.fetch(sql, (low, high, *values, BLOCKS_AT_ONCE)):
            for (block,) in rows:
                upper = (block + 1) * BLOCK - 1
                yield max(first, block * BLOCK), upper if last is None else min(upper, last)
            if len(rows) < BLOCKS_AT_ONCE:
                break
            low, high = (low, rows[-1][0] - 1) if newest_first else (rows[-1][0] + 1, high)
    if not newest_first:
        for span in behind:
            yield span
