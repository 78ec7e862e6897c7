"""A `Filter` as SQL, and reading by it page by page.

Invariant: whatever a filter holds travels as a parameter; a pattern's only
wildcards are `*` and `?`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ledger.errors import UsageError
from ledger.events import TENANT, microseconds, time_text
from ledger.stores.base import Database, Filter, Row, Spelling
from ledger.stores.blocks import PART, Span, spans
from ledger.stores.known import ACTOR, RUN, STREAM, TYPE
from ledger.stores.reading import COLUMNS

_COLUMNS: Final = ", ".join(COLUMNS)
_IDS: Final = "SELECT id FROM event_names WHERE kind = ?"
NAMING: Final = ("failed", "resolved", "explained")
"""Types that speak of a migration, and share nothing."""
_HELD: Final = "SELECT 1 FROM event_blocks WHERE event_blocks.block = event_times.block"


async def pages(database: Database, where: Filter, batch: int) -> AsyncGenerator[list[Row], None]:
    """Matching rows of `events` in seq order, whose columns are those of the table.

    Each list is one query of its own: no transaction stays open between, and others get their turn.
    """
    parts, values = conditions(where, database.spelling)
    if where.last is not None:
        found = await _newest(database, where, parts, values)
        if found is None:
            return
        where = msgspec.structs.replace(where, after_seq=found[0] - 1, until_seq=found[1])
    # Within a stream, seq order is version order.
    in_stream = where.stream is not None
    seq, order = (database.spelling.seq_in_stream, "version") if in_stream else ("seq", "seq")
    async for first, last in _spans(database, where, newest_first=False):
        ranged = [*parts, f"{seq} > ?", *([] if last is None else [f"{seq} <= ?"])]
        select = (
            f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(ranged)} ORDER BY {order} LIMIT ?"  # noqa: S608
        )
        after = first - 1
        while True:
            end = () if last is None else (last,)
            rows = await database.fetch(select, (*values, after, *end, batch))
            if rows:
                yield rows
            if len(rows) < batch:
                break
            after = rows[-1][0]


async def _newest(
    database: Database, where: Filter, parts: list[str], values: list[object]
) -> tuple[int, int] | None:
    """The first and last seq of the newest `last` events that match; None without one."""
    left, found = where.last or 0, list[int]()
    in_stream = where.stream is not None
    seq, order = (database.spelling.seq_in_stream, "version") if in_stream else ("seq", "seq")
    async for first, last in _spans(database, where, newest_first=True):
        if left <= 0:
            break
        ranged = [*parts, f"{seq} >= ?", *([] if last is None else [f"{seq} <= ?"])]
        newest = f"""
        SELECT COUNT(*), MIN(seq), MAX(seq) FROM (
            SELECT seq FROM events WHERE {" AND ".join(ranged)} ORDER BY {order} DESC LIMIT ?
        ) AS newest"""  # noqa: S608
        end = () if last is None else (last,)
        ((count, least, most),) = await database.fetch(newest, (*values, first, *end, left))
        if count:
            found += least, most
            left -= count
    return (min(found), max(found)) if found else None


async def _spans(
    database: Database, where: Filter, *, newest_first: bool
) -> AsyncGenerator[Span, None]:
    """The ranges of seq in which matching events can be."""
    first, last = where.after_seq + 1, where.until_seq
    narrow, values = _narrow(where, database.spelling)
    if where.stream is not None or _exact(where.tenant) or not narrow:
        yield first, last
        return
    async for span in spans(database, narrow, values, first, last, newest_first=newest_first):
        yield span


def _exact(name: str | None) -> bool:
    return name is not None and not set("*?") & set(name)


def _narrow(where: Filter, spelling: Spelling) -> tuple[list[str], list[object]]:
    """What a block must hold: conditions on `event_times`, and their values."""
    parts: list[str] = []
    values: list[object] = []
    for kind, names in ((RUN, where.run), (ACTOR, where.actor), (TYPE, where.types)):
        if names is not None and names != ():
            condition, more = _ids(kind, names, spelling)
            parts.append(f"EXISTS ({_HELD} AND kind = ? AND value IN ({condition}))")
            values += kind, *more
    if where.migration is not None:
        condition, more = _of_migration(where.migration, spelling)
        types, names_of = _ids(TYPE, NAMING, spelling)
        parts.append(
            f"EXISTS ({_HELD} AND (kind = ? AND value IN ({condition})"
            f" OR kind = ? AND value IN ({types})))"
        )
        values += PART, *more, TYPE, *names_of
    if where.since is not None:
        parts.append("last_at >= ?")
        values.append(microseconds(_moment(where.since)))
    if where.until is not None:
        parts.append("first_at < ?")
        values.append(microseconds(_moment(where.until)))
    return parts, values


def _ids(
    kind: int, names: str | tuple[str, ...], spelling: Spelling, before: str = ""
) -> tuple[str, list[object]]:
    """A query for the ids of a name, of a pattern, or of several names; and its values."""
    if isinstance(names, tuple):
        return f"{_IDS} AND name IN ({marks(names)})", [kind, *names]
    if _exact(names):
        return f"{_IDS} AND name = ?", [kind, before + names]
    like = spelling.like.format(column="name")
    return f"{_IDS} AND {like}", [kind, spelling.pattern(before + names)]


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

    for column, kind, names, before in (
        ("stream", STREAM, where.tenant, TENANT),
        ("run", RUN, where.run, ""),
        ("actor", ACTOR, where.actor, ""),
        ("type", TYPE, where.types, ""),
    ):
        if names is not None and names != ():
            condition, more = _ids(kind, names, spelling, before)
            add(f"{column} IN ({condition})", *more)
    if where.migration is not None:
        condition, more = _of_migration(where.migration, spelling)
        types, names_of = _ids(TYPE, NAMING, spelling)
        own = spelling.like.format(column="body")
        pattern = spelling.pattern("*," + _ref(where.migration) + "*")
        add(f"(part IN ({condition}) OR type IN ({types}) AND {own})", *more, *names_of, pattern)
    if where.stream is not None:
        add(f"stream = ({_IDS} AND name = ?)", STREAM, where.stream)
    if where.since is not None:
        add("at >= ?", microseconds(_moment(where.since)))
    if where.until is not None:
        add("at < ?", microseconds(_moment(where.until)))
    return parts, values


def _of_migration(migration: str, spelling: Spelling) -> tuple[str, list[object]]:
    """A query for the parts whose events speak of a migration, and its values."""
    like = spelling.like.format(column="text")
    patterns = (f",{_ref(migration)}*", f'*,"migration":{{{_ref(migration)}*')
    return (
        f"SELECT id FROM event_parts WHERE {like} OR {like}",  # noqa: S608
        [spelling.pattern(pattern) for pattern in patterns],
    )


def _ref(migration: str) -> str:
    """How the fields of a body that name a migration look, as a pattern."""
    set_name, slash, version = migration.rpartition("/")
    texts = [msgspec.json.encode(text).decode() for text in (set_name, version)]
    return f'"set":{texts[0] if slash else chr(34) + "*" + chr(34)},"version":{texts[1]}'


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
