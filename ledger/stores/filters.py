"""A `Filter` as SQL, and reading by it page by page.

Invariant: whatever a filter holds travels as a parameter; a pattern's only
wildcards are `*` and `?`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final

from ledger.errors import UsageError
from ledger.events import TENANT, microseconds, time_text
from ledger.stores.base import Database, Filter, Row, Spelling
from ledger.stores.known import ACTOR, RUN, STREAM, TYPE
from ledger.stores.reading import COLUMNS

_COLUMNS: Final = ", ".join(COLUMNS)
_IDS: Final = "SELECT id FROM event_names WHERE kind = ?"


async def pages(database: Database, where: Filter, batch: int) -> AsyncGenerator[list[Row], None]:
    """Matching rows of `events` in seq order, whose columns are those of the table.

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
    select = f"SELECT {_COLUMNS} FROM events WHERE {condition} ORDER BY {order} LIMIT ?"  # noqa: S608
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

    def add_name(column: str, kind: int, name: str, before: str = "") -> None:
        if "*" in name or "?" in name:
            like = spelling.like.format(column="name")
            add(f"{column} IN ({_IDS} AND {like})", kind, spelling.pattern(before + name))
        else:
            add(f"{column} = ({_IDS} AND name = ?)", kind, before + name)

    if where.stream is not None:
        add(f"stream = ({_IDS} AND name = ?)", STREAM, where.stream)
    if where.tenant is not None:
        add_name("stream", STREAM, where.tenant, TENANT)
    if where.run is not None:
        add_name("run", RUN, where.run)
    if where.actor is not None:
        add_name("actor", ACTOR, where.actor)
    if where.types:
        add(f"type IN ({_IDS} AND name IN ({marks(where.types)}))", TYPE, *where.types)
    if where.since is not None:
        add("at >= ?", microseconds(_moment(where.since)))
    if where.until is not None:
        add("at < ?", microseconds(_moment(where.until)))
    return parts, values


def moment_text(text: str) -> str:
    """A time in any spelling, as events spell it. Raises UsageError for what is no time."""
    return time_text(microseconds(_moment(text)))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time",
            hint="Write ISO 8601 in UTC, for example 2026-11-21T23:10:04Z.",
        ) from error


def marks(values: Sequence[object]) -> str:
    """As many parameters, for `IN (…)`."""
    return ", ".join("?" * len(values))
