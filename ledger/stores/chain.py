"""How a batch of requests becomes events: versions, seq and the hash chain, decided in one place.

Invariant: pure; the store appends exactly what `chain_batch` returns, inside the
transaction that holds the head row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ledger.errors import ChainBrokenError, ConflictError, StoreError
from ledger.events import TYPE_NAMES, Recorded, envelope_hash, lasting_body
from ledger.stores.base import Append, Encoded, Head, Prepared, Script

COLUMNS: Final[tuple[str, ...]] = Recorded.__struct_fields__
"""The columns of `events`, in the order of `Recorded`'s fields, so that a row is `astuple`."""

FACT_COLUMNS: Final = ("seq", "version", "at", "run", "actor", "tenant", "body")
"""The columns of a projection's `Fact`, in its order."""

STREAM_CHARACTERS: Final = 512
ID_CHARACTERS: Final = 64
ACTOR_CHARACTERS: Final = 255

Outcome = tuple[Recorded, ...] | StoreError

Row = tuple[object, ...]
"""A row for INSERT, in the order of COLUMNS, with the body as the text that it is stored as."""


class Chained(msgspec.Struct, frozen=True, kw_only=True):
    """What to insert: `outcomes` has one entry per request, `versions` the streams that `rows` extend."""

    outcomes: tuple[Outcome, ...]
    rows: list[Row]
    head: Head
    versions: dict[str, int]


def prepare(request: Append) -> Prepared:
    """Encode the bodies and refuse what a ledger could not hold, before any lock is held.

    Raises StoreError.
    """
    _refuse_unfit("stream", request.stream, STREAM_CHARACTERS)
    if not request.events and not request.scripts:
        raise StoreError(f"nothing to append to stream {request.stream}")
    checked: tuple[str, str, str | None] | None = None
    events: list[Encoded] = []
    size = sum(len(script.content) for script in request.scripts)
    for new in request.events:
        event_id, event = new.event_id, new.event
        # What `_refuse_unfit` asks, without a call for each event.
        if not 0 < len(event_id) <= ID_CHARACTERS or event_id[-1] == " " or not event_id.isascii():
            _refuse_unfit("event_id", event_id, ID_CHARACTERS, ascii_only=True)
        # Events of one request nearly always share who, where and when: looked at once.
        if checked != (who := (new.run, new.actor, new.tenant)):
            checked = who
            _refuse_unfit("run", new.run, ID_CHARACTERS, ascii_only=True)
            _refuse_unfit("actor", new.actor, ACTOR_CHARACTERS)
            if new.tenant is not None:
                _refuse_unfit("tenant", new.tenant, STREAM_CHARACTERS)
        body = lasting_body(event)
        size += len(body)
        events.append((event_id, TYPE_NAMES[event.__class__], *who, body))
    return Prepared(
        stream=request.stream,
        events=tuple(events),
        size=size,
        expected=request.expected,
        scripts=request.scripts,
    )


def _refuse_unfit(field: str, value: str, limit: int, *, ascii_only: bool = False) -> None:
    """One rule for all stores: what one of them would cut or pad, none of them takes."""
    if 0 < len(value) <= limit and value[-1] != " " and (not ascii_only or value.isascii()):
        return
    raise StoreError(
        f"an event's {field} must be 1 to {limit} {'ASCII ' if ascii_only else ''}characters "
        f"and not end with a space; it is {value[:80]!r} ({len(value)} characters)"
    )


_TYPES: Final = (int, str, int, str, str, str, str, str, str, bytes, str, str)
_NO_TENANT: Final = (*_TYPES[:8], type(None), *_TYPES[9:])


def recorded(rows: Iterable[tuple[Any, ...]]) -> list[Recorded]:
    """Rows of `events`, columns in the order of COLUMNS and bodies as bytes, as events.

    Raises ChainBrokenError for a column of another type: SQLite keeps whatever is put into one.
    """
    events = []
    for row in rows:
        kinds = tuple(map(type, row))
        if kinds != _TYPES and kinds != _NO_TENANT:
            raise _unreadable(row)
        events.append(Recorded(*row))
    return events


def _unreadable(row: tuple[Any, ...]) -> ChainBrokenError:
    seq = row[0] if isinstance(row[0], int) else 0
    bad = next(
        column
        for column, value, kind in zip(COLUMNS, row, _TYPES, strict=True)
        if type(value) is not kind and (column != "tenant" or value is not None)
    )
    return ChainBrokenError(
        f"event {seq} cannot be read: its {bad} is no {'number' if bad == 'version' else 'text'}",
        seq=seq,
        hint="Run `ledger verify`, and put back a copy of the ledger from before.",
    )


def timestamp(moment: datetime) -> str:
    """UTC, ISO 8601, always with microseconds and `Z`, so that text sorts as time does."""
    # Not strftime: it writes the year 999 with three digits.
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def streams_of(batch: Sequence[Prepared]) -> list[str]:
    """Every stream of the batch, once."""
    return list({prepared.stream: None for prepared in batch})


def ids_of(batch: Sequence[Prepared]) -> list[str]:
    """Every event id of the batch."""
    return [event[0] for prepared in batch for event in prepared.events]


def chain_batch(
    head: Head,
    batch: Sequence[Prepared],
    versions: Mapping[str, int],
    at: str,
    *,
    existing: Mapping[str, Recorded] | None = None,
) -> Chained:
    """Give each request its versions, seqs and hashes, or its refusal.

    `versions` are the streams' current ones (absent is 0). A request that expects another
    version gets ConflictError and leaves the others alone. `existing` are the events already
    recorded under an id of this batch: a request all of whose ids are recorded is a retry, and
    gets what was recorded; one that mixes recorded and new ids gets StoreError. Without
    `existing`, whoever inserts the rows proves by the unique index that all ids are new.
    """
    moved: dict[str, int] = {}
    known = dict(existing) if existing is not None else None
    outcomes: list[Outcome] = []
    rows: list[Row] = []
    seq, last_hash = head.seq, head.hash
    for request in batch:
        stream, expected = request.stream, request.expected
        if known and not known.keys().isdisjoint([event[0] for event in request.events]):
            outcomes.append(_recorded_before(request, known))
            continue
        version = moved.get(stream)
        if version is None:
            version = versions.get(stream, 0)
        if expected is not None and expected != version:
            outcomes.append(ConflictError(stream, expected=expected, found=version))
            continue
        mine, last_hash = _extend(request, seq, version, last_hash, at, rows)
        if known is not None:
            known.update((event.event_id, event) for event in mine)
        seq += len(mine)
        if mine:
            moved[stream] = version + len(mine)
        outcomes.append(mine)
    return Chained(
        outcomes=tuple(outcomes), rows=rows, head=Head(seq=seq, hash=last_hash), versions=moved
    )


def _extend(
    request: Prepared, seq: int, version: int, last_hash: str, at: str, rows: list[Row]
) -> tuple[tuple[Recorded, ...], str]:
    """The request's events after `seq`, their rows added to `rows`, and the last one's hash."""
    stream = request.stream
    mine: list[Recorded] = []
    for event_id, type_name, run, actor, tenant, body in request.events:
        seq += 1
        version += 1
        envelope = (seq, stream, version, event_id, type_name, at, run, actor, tenant)
        hash_ = envelope_hash((last_hash, *envelope), body)
        mine.append(Recorded(*envelope, body, last_hash, hash_))
        rows.append((*envelope, body.decode(), last_hash, hash_))
        last_hash = hash_
    return tuple(mine), last_hash


def new_scripts(
    batch: Sequence[Prepared], outcomes: Sequence[Outcome], stored: Collection[str]
) -> list[Script]:
    """The texts that accepted requests bring along, each once, without those in `stored`."""
    texts: dict[str, Script] = {}
    for prepared, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, tuple):
            for script in prepared.scripts:
                if script.sha256 not in stored:
                    texts.setdefault(script.sha256, script)
    return list(texts.values())


def _recorded_before(request: Prepared, known: Mapping[str, Recorded]) -> Outcome:
    """What a retry gets: exactly what was recorded under its ids, in order, on its stream."""
    found = [known.get(event[0]) for event in request.events]
    recorded = tuple(event for event in found if event is not None)
    first = recorded[0].version
    if len(recorded) == len(found) and all(
        event.stream == request.stream and event.version == first + offset
        for offset, event in enumerate(recorded)
    ):
        return recorded
    return StoreError(
        f"event id {recorded[0].event_id} was used before, at seq {recorded[0].seq} on stream "
        f"{recorded[0].stream}, by another append than this one on stream {request.stream}",
        hint="An event id belongs to one append; give new events new ids.",
    )
