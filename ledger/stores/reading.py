"""Stored rows as events: the numbers in them as names, the parts of their bodies put together.

Invariant: names and parts never change, so that what was once read is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from ledger.errors import ChainBrokenError, NewerLedgerError
from ledger.events import AnyEvent, Recorded, decode_bodies, decode_body, tenant_of, time_text
from ledger.events.slim import NOTHING, whole
from ledger.projections import Fact
from ledger.stores.base import Row
from ledger.stores.known import ACTOR, RUN, STREAM, TYPE

COLUMNS: Final = ("seq", "stream", "version", "type", "at", "run", "actor", "part", "body", "hash")
"""The columns of `events` in their order."""

_TYPES: Final = (*[int] * 8, str)
_NUMBERS: Final = {STREAM: 1, TYPE: 3, RUN: 5, ACTOR: 6}
"""Where in a row the number of each kind of name stands."""
_PART: Final = 7
_OWN: Final = 8
_ASKED_AT_ONCE: Final = 500
_NAMES: Final = "SELECT id, name FROM event_names WHERE kind = ? AND id IN ({marks})"
_PARTS: Final = """
SELECT event_parts.id, event_parts.text, event_names.name
FROM event_parts JOIN event_names ON event_names.kind = ? AND event_names.id = event_parts.type
WHERE event_parts.id IN ({marks})"""

_FOLDED_BY_PART: Final = "step_applied"
"""The type of which a fold needs nothing but what is shared. Nearly all events are of it."""
_STATEMENT: Final = '{"statement":""}'

Fetch = Callable[[str, Sequence[object]], Awaitable[list[Row]]]


class Reader:
    """Turns rows into events. Its memory grows with the names and parts that were met."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._names: dict[int, dict[int, str]] = {kind: {} for kind in _NUMBERS}
        self._tenants: dict[int, str | None] = {}
        self._parts: dict[int, str] = {0: ""}
        self._by_part: dict[int, AnyEvent] = {}
        self._whole: dict[int, AnyEvent] = {}

    async def recorded(self, rows: Sequence[Row]) -> list[Recorded]:
        """The rows, whose columns are COLUMNS, as events.

        Raises ChainBrokenError for a value that no store wrote: SQLite keeps whatever is put into a column.
        """
        await self._meet(rows)
        names, parts, tenants = self._names, self._parts, self._tenants
        streams, types, runs, actors = (names[kind] for kind in (STREAM, TYPE, RUN, ACTOR))
        events = []
        at_before, at_text = -1, ""
        for row in rows:
            if tuple(map(type, row[:9])) != _TYPES:
                raise _unreadable(row)
            seq, stream, version, kind, at, run, actor, part, own, digest = row
            if at != at_before:
                at_before, at_text = at, _time(row)
            kind_name = types[kind]
            events.append(
                Recorded(
                    seq,
                    streams[stream],
                    version,
                    kind_name,
                    at_text,
                    runs[run],
                    actors[actor],
                    tenants[stream],
                    whole(kind_name, parts[part], own).encode(),
                    digest.hex() if digest.__class__ is bytes else "",
                )
            )
        return events

    async def facts(self, rows: Sequence[Row]) -> list[Fact]:
        """The rows as what a fold needs of them. Raises what `recorded` does, and NewerLedgerError."""
        await self._meet(rows)
        runs, actors, tenants = self._names[RUN], self._names[ACTOR], self._tenants
        ready, shared = self._by_part, self._whole
        alone = [
            row
            for row in rows
            if row[7] not in ready and (row[8] != NOTHING or row[7] not in shared)
        ]
        decoded = iter(self._decoded(alone))
        facts: list[Fact] = []
        at_before, at_text = -1, ""
        for row in rows:
            seq, stream, version, _, at, run, actor, part, own, _ = row
            if at != at_before:
                at_before, at_text = at, _time(row)
            event = ready.get(part)
            if event is None:
                event = shared.get(part) if own == NOTHING else None
                if event is None:
                    event = next(decoded)
            facts.append((seq, version, at_text, runs[run], actors[actor], tenants[stream], event))
        return facts

    def _decoded(self, rows: Sequence[Row]) -> list[AnyEvent]:
        types, parts = self._names[TYPE], self._parts
        bodies = [whole(types[row[3]], parts[row[7]], row[8]) for row in rows]
        try:
            return [*decode_bodies(bodies)]
        except ChainBrokenError:
            for row, body in zip(rows, bodies, strict=True):
                decode_body(body, seq=row[0])
            raise

    async def _meet(self, rows: Sequence[Row]) -> None:
        """Read the names and parts that these rows are the first to refer to."""
        for kind, place in _NUMBERS.items():
            known = self._names[kind]
            if new := {row[place] for row in rows} - known.keys():
                found: dict[int, str] = dict(await self._ask(_NAMES, (kind,), new))
                known |= found
                if kind == STREAM:
                    self._tenants |= {number: tenant_of(name) for number, name in found.items()}
                _refuse_missing(rows, place, known, new)
        if new := {row[_PART] for row in rows} - self._parts.keys():
            for number, text, kind_name in await self._ask(_PARTS, (TYPE,), new):
                self._parts[number] = text
                self._prepare(number, text, kind_name)
            _refuse_missing(rows, _PART, self._parts, new)

    def _prepare(self, number: int, text: str, kind: str) -> None:
        """Decode at once what events with this part need not be decoded for."""
        with suppress(ChainBrokenError, NewerLedgerError):
            if kind == _FOLDED_BY_PART:
                own = NOTHING if ',"statement":' in text else _STATEMENT
                self._by_part[number] = decode_body(whole(kind, text, own))
            else:
                self._whole[number] = decode_body(whole(kind, text, NOTHING))

    async def _ask(
        self, sql: str, values: Sequence[object], numbers: Collection[object]
    ) -> list[Row]:
        wanted, rows = [*numbers], []
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            some = wanted[start : start + _ASKED_AT_ONCE]
            rows += await self._fetch(
                sql.format(marks=", ".join("?" * len(some))), (*values, *some)
            )
        return rows


def _refuse_missing(
    rows: Sequence[Row], place: int, known: Collection[object], new: Collection[object]
) -> None:
    if all(number in known for number in new):
        return
    row = next(row for row in rows if row[place] not in known)
    raise _unreadable(row, f"its {COLUMNS[place]} {row[place]!r} stands for nothing")


def _time(row: Row) -> str:
    try:
        return time_text(row[4])
    except (OverflowError, TypeError) as error:
        raise _unreadable(row, f"its at {row[4]!r} is no time") from error


def _unreadable(row: Row, reason: str = "") -> ChainBrokenError:
    if not reason:
        column, kind = next(
            (column, kind)
            for column, value, kind in zip(COLUMNS, row, _TYPES, strict=False)
            if type(value) is not kind
        )
        reason = f"its {column} is no {'text' if kind is str else 'number'}"
    return ChainBrokenError(
        f"event {row[0]} cannot be read: {reason}",
        seq=row[0] if isinstance(row[0], int) else 0,
        hint="Run `ledger verify`, and put back a copy of the ledger from before.",
    )
