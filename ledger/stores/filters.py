"""A `Filter` as SQL, and reading by it page by page.

Invariant: whatever a filter holds travels as a parameter; a pattern's only
wildcards are `*` and `?`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

from ledger.errors import UsageError
from ledger.stores.base import Database, Filter, Row, Spelling
from ledger.stores.chain import timestamp


async def pages(
    database: Database, columns: str, where: Filter, batch: int
) -> AsyncGenerator[list[Row], None]:
    """Matching rows in seq order; the first of `columns` is `seq`.

    Each list is one query of its own: no transaction stays open between, and others get their turn.
    """
    fetch, spelling = database.fetch, database.spelling
    parts, values = conditions(where, spelling)
    # Within a stream, seq order is version order.
    seq, order = (spelling.seq_in_stream, "version") if where.stream is not None else ("seq", "seq")
    condition = " AND ".join([*parts, f"{seq} > ?"])
    after = where.after_seq
    tail: tuple[object, ...] = (batch,)
    if where.last is not None:
        newest = (
            f"SELECT MIN(seq), MAX(seq) FROM (SELECT seq FROM events WHERE {condition} "  # noqa: S608
            f"ORDER BY {order} DESC LIMIT ?) AS newest"
        )
        ((first, last),) = await fetch(newest, (*values, after, where.last))
        if first is None:
            return
        after = first - 1
        condition += " AND seq <= ?"
        tail = (last, batch)
    select = f"SELECT {columns} FROM events WHERE {condition} ORDER BY {order} LIMIT ?"  # noqa: S608
    while True:
        rows = await fetch(select, (*values, after, *tail))
        if rows:
            yield rows
        if len(rows) < batch:
            return
        after = rows[-1][0]


def conditions(where: Filter, spelling: Spelling) -> tuple[list[str], list[object]]:
    """The conditions of everything but `after_seq` and `last`, to be joined by AND, and their values.

    Raises UsageError for a time that is none.
    """
    parts: list[str] = []
    values: list[object] = []

    def add(part: str, *more: object) -> None:
        parts.append(part)
        values.extend(more)

    if where.until_seq is not None:
        add("seq <= ?", where.until_seq)
    if where.stream is not None:
        add("stream = ?", where.stream)
    for column, value in (("tenant", where.tenant), ("run", where.run), ("actor", where.actor)):
        if value is None:
            continue
        if column == "run" and not value.isascii():
            # Runs, like types, are ASCII, and a server would not even compare.
            add("1 = 0")
        elif "*" in value or "?" in value:
            add(spelling.like.format(column=column), spelling.pattern(value))
        else:
            add(f"{column} = ?", value)
    if where.types:
        types = [name for name in where.types if name.isascii()] or [""]
        add(f"type IN ({marks(types)})", *types)
    if where.since is not None:
        add("at >= ?", moment_text(where.since))
    if where.until is not None:
        add("at < ?", moment_text(where.until))
    return parts, values


def moment_text(text: str) -> str:
    """The stored spelling of a time: `10:04Z` and `10:04:00.000000Z` do not sort alike as text.

    Raises UsageError for what is no time.
    """
    try:
        moment = datetime.fromisoformat(text)
        return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time",
            hint="Write ISO 8601 in UTC, for example 2026-11-21T23:10:04Z.",
        ) from error


def marks(values: Sequence[object]) -> str:
    """As many parameters, for `IN (…)`."""
    return ", ".join("?" * len(values))
