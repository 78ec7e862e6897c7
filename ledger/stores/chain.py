"""How a batch of requests becomes events: versions, seq and the hash chain, decided in one place.

Invariant: pure; the store appends exactly what `chain_batch` returns, inside the
transaction that holds the head row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from ledger.errors import ConflictError, StoreError
from ledger.events import (
    TYPE_NAMES,
    Recorded,
    append_hash,
    lasting_body,
    tenant_of,
    time_text,
)
from ledger.events.slim import head as head_of
from ledger.events.slim import own_part
from ledger.stores.base import Append, Encoded, Head, Prepared, Row, Script
from ledger.stores.known import ACTOR, RUN, STREAM, TYPE, Known

STREAM_CHARACTERS: Final = 512
RUN_CHARACTERS: Final = 64
ACTOR_CHARACTERS: Final = 255

Outcome = tuple[Recorded, ...] | StoreError


class Chained(msgspec.Struct, frozen=True, kw_only=True):
    """What to insert, in the order of each table's columns; `outcomes` has one entry per request."""

    outcomes: tuple[Outcome, ...]
    names: list[Row]
    parts: list[Row]
    rows: list[Row]
    head: Head


def prepare(request: Append) -> Prepared:
    """Encode the bodies and refuse what a ledger could not hold, before any lock is held.

    Raises StoreError.
    """
    _refuse_unfit("stream", request.stream, STREAM_CHARACTERS)
    if not request.events and not request.scripts:
        raise StoreError(f"nothing to append to stream {request.stream}")
    checked: tuple[str, str] | None = None
    events: list[Encoded] = []
    size = sum(len(script.content) for script in request.scripts)
    for new in request.events:
        event = new.event
        # Events of one request nearly always share who and where: looked at once.
        if checked != (who := (new.run, new.actor)):
            checked = who
            _refuse_unfit("run", new.run, RUN_CHARACTERS, ascii_only=True)
            _refuse_unfit("actor", new.actor, ACTOR_CHARACTERS)
        body = lasting_body(event)
        size += len(body)
        events.append((TYPE_NAMES[event.__class__], *who, body))
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


def chain_batch(head: Head, batch: Sequence[Prepared], known: Known, at: int) -> Chained:
    """Give each request its versions, seqs and hashes, or its refusal.

    A request that expects another version than its stream has gets ConflictError and leaves the
    others alone. `known` has to hold what `Known.missing` asked for, and takes in what is new here,
    whether or not that comes to be committed. `at` is in microseconds since 1970.
    """
    outcomes: list[Outcome] = []
    chain = Chain(head, known)
    for request in batch:
        expected, version = request.expected, known.versions.get(request.stream, 0)
        if expected is not None and expected != version:
            outcomes.append(ConflictError(request.stream, expected=expected, found=version))
        elif request.events:
            outcomes.append(chain.extend(request, version, at))
        else:
            outcomes.append(())
    return Chained(
        outcomes=tuple(outcomes),
        names=chain.names,
        parts=chain.parts,
        rows=chain.rows,
        head=Head(seq=chain.seq, hash=chain.hash.hex()),
    )


class Chain:
    """The end of the chain while appends are added to it, and the rows that they bring."""

    def __init__(self, head: Head, known: Known) -> None:
        self.seq = head.seq
        self.hash = bytes.fromhex(head.hash)
        self.names: list[Row] = []
        self.parts: list[Row] = []
        self.rows: list[Row] = []
        self._known = known
        self._time = 0, time_text(0)

    def extend(self, request: Prepared, version: int, at: int) -> tuple[Recorded, ...]:
        """The events of a request, chained behind what is there. `at` is in microseconds since 1970."""
        known = self._known
        if at != self._time[0]:
            self._time = at, time_text(at)
        at_text = self._time[1]
        stream, tenant = request.stream, tenant_of(request.stream)
        seq = first = self.seq + 1
        names: list[Row] = []
        parts: list[Row] = []
        stream_id = known.id(STREAM, stream, first, names)
        types = known.ids[TYPE]
        who: tuple[str, str] | None = None
        run_id = actor_id = 0
        rows: list[Row] = []
        for kind, run, actor, body in request.events:
            if who != (run, actor):
                who = run, actor
                run_id = known.id(RUN, run, first, names)
                actor_id = known.id(ACTOR, actor, first, names)
            type_id = types.get(kind) or known.id(TYPE, kind, first, names)
            fields = _fields(kind, body)
            part_id, shared = known.part(type_id, kind, fields, first, parts)
            version += 1
            own = own_part(fields, shared)
            rows.append((seq, stream_id, version, type_id, at, run_id, actor_id, part_id, own))
            seq += 1
        names.sort()
        self.hash = append_hash(self.hash, names, parts, rows)
        self.seq = last = seq - 1
        self.names += names
        self.parts += parts
        self.rows += [(*row, None) for row in rows[:-1]]
        self.rows.append((*rows[-1], self.hash))
        known.versions[stream] = version
        start = version - len(rows) + 1
        end = self.hash.hex()
        return tuple(
            [
                Recorded(
                    first + number,
                    stream,
                    start + number,
                    kind,
                    at_text,
                    run,
                    actor,
                    tenant,
                    body,
                    end if first + number == last else "",
                )
                for number, (kind, run, actor, body) in enumerate(request.events)
            ]
        )


_HEADS: Final = {kind: head_of(kind) for kind in TYPE_NAMES.values()}


def _fields(kind: str, body: bytes) -> str:
    """A body's text without its head and its last brace."""
    text, head = body.decode(), _HEADS[kind]
    if not text.startswith(head):
        raise StoreError(f"the body of an event {kind!r} begins with {text[:80]!r}, not {head!r}")
    return text[len(head) : -1]


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
