"""A ledger of schema 1 brought to schema 2: its events in the new layout, and as they were, compressed.

Invariant: the old chain is verified before anything is changed, and each event against what it is
rewritten as; the new chain begins with the old one's last hash. A kill at any point loses nothing:
the next opening goes on where the last transaction ended. Until the end, `meta` has the key UPGRADING
beside the new schema number, which keeps older versions from appending.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import msgspec
import zstandard

from ledger import failpoints
from ledger.audit import same_as_old
from ledger.errors import ChainBrokenError, NewerLedgerError
from ledger.events import (
    EVENT_TYPES,
    GENESIS_HASH,
    decode_body,
    encode_body,
    microseconds,
)
from ledger.events.schema_1 import OldEvent, old_hash
from ledger.stores.base import Connection, Database, Head, Prepared
from ledger.stores.blocks import summarise
from ledger.stores.chain import Chain
from ledger.stores.known import Known
from ledger.stores.schema import (
    EVENTS,
    META,
    NAMES,
    PARTS,
    SCHEMA_KEY,
    SEGMENTS,
    UPGRADING,
    make_layout,
)

log = logging.getLogger("ledger.store")

PAGE: Final = 5_000
"""Events of one transaction, and of one segment."""

_OLD: Final = "events_of_schema_1"
_PROBE: Final = "ledger_may_drop_tables"
_COLUMNS: Final = "seq, stream, version, event_id, type, at, run, actor, tenant, body"
_HINT: Final = (
    "Nothing was changed. Put back a copy of the ledger from before that event was changed; "
    "the version of migration-ledger that wrote it can still `ledger verify` it."
)

_META: Final = "SELECT meta.key, meta.value FROM meta"
_HEAD: Final = "SELECT seq, hash FROM head"
_SEGMENT: Final = "SELECT last_seq, hash FROM event_segments ORDER BY last_seq DESC LIMIT 1"
_LAST_HASH: Final = "SELECT hash FROM events WHERE seq = ?"

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(list[OldEvent])


async def rewrite_events(database: Database) -> None:
    """Bring the ledger to schema 2, or go on with that. Raises ChainBrokenError, having changed nothing."""
    meta: dict[str, str] = dict(await database.fetch(_META, ()))
    if UPGRADING not in meta:
        log.warning("the ledger %s is being upgraded; do not stop this", database.url)
        await _check(database)

    async def begin(connection: Connection) -> None:
        await _begin(connection, database)

    async def finish(connection: Connection) -> None:
        await _finish(connection, database)

    await database.make(begin)
    failpoints.reach("store.after_commit")
    known = Known()

    async def copy(connection: Connection, _: bool) -> Head | None:
        return await _copy(connection, database, known)

    while (end := await database.write(copy)) is not None:
        failpoints.reach("store.after_commit")
        known.settled(end)
    await database.make(finish)


async def _check(database: Database) -> None:
    """Raise ChainBrokenError for an old chain that does not hold, or that cannot be rewritten."""
    after, last_hash = 0, GENESIS_HASH
    sql = f"SELECT {_COLUMNS}, hash FROM events WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
    while rows := await database.fetch(sql, (after, PAGE)):
        for *columns, kept in rows:
            event = _old_event(columns)
            if event[0] != after + 1 or old_hash(last_hash, event) != kept:
                raise _refusal(after + 1, "the chain breaks there")
            after, last_hash = event[0], str(kept)
            _new_body(event)
    ((seq, head_hash),) = await database.fetch(_HEAD, ())
    if (seq, head_hash) == (after, last_hash):
        return
    # Others may append until schema 2 is written: what they add is checked when it is copied.
    more = await database.fetch("SELECT hash FROM events WHERE seq = ?", (seq,))
    if seq < after or more != [(head_hash,)]:
        raise _refusal(seq, "the head row is not that of the last event")


def _old_event(columns: Sequence[Any]) -> OldEvent:
    try:
        event: OldEvent = msgspec.convert(tuple(columns), OldEvent)
    except msgspec.ValidationError as error:
        raise _refusal(columns[0], f"it cannot be read ({error})") from error
    return event


def _refusal(seq: object, reason: str) -> ChainBrokenError:
    number = seq if isinstance(seq, int) else 0
    return ChainBrokenError(
        f"the ledger cannot be upgraded to schema 2 because of event {number}: {reason}",
        seq=number,
        hint=_HINT,
    )


def _new_body(event: OldEvent) -> bytes:
    """The body with its fields in today's order. Raises ChainBrokenError, NewerLedgerError."""
    seq, kind, body = event[0], event[4], event[9]
    if kind not in EVENT_TYPES:
        raise NewerLedgerError(
            f"the ledger holds an event {kind!r} that this version does not know",
            hint="Upgrade migration-ledger on this host.",
        )
    new = encode_body(decode_body(body, kind, seq=seq))
    was: dict[str, Any] = msgspec.json.decode(body)
    if msgspec.json.decode(new) == {"schema": 1, **was}:
        return new
    # Fields that this version does not know stay.
    rest = {key: value for key, value in was.items() if key not in ("type", "schema")}
    return _ENCODER.encode({"type": kind, "schema": 1, **rest})


async def _begin(connection: Connection, database: Database) -> None:
    """Keep older versions from appending, and put the new tables beside the old one."""
    meta: dict[str, str] = dict(await connection.execute(_META))
    if meta[SCHEMA_KEY] == "1":
        # An account that may not do this must learn it before anything is changed.
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {_PROBE} (id INTEGER)")
        await connection.execute(f"DROP TABLE {_PROBE}")
        await connection.insert(META, [(UPGRADING, "")], replace=True)
        await connection.execute("UPDATE meta SET value = '2' WHERE meta.key = ?", (SCHEMA_KEY,))
        meta[UPGRADING] = ""
    if meta.get(UPGRADING) == "":
        ((_, last_hash),) = await connection.execute(_HEAD)
        await connection.insert(META, [(UPGRADING, last_hash)], replace=True)
    if ("events", "event_id") in await connection.columns():
        for action in ("update", "delete", "replace"):
            await connection.execute(f"DROP TRIGGER IF EXISTS events_refuse_{action}")
        await connection.execute(f"ALTER TABLE events RENAME TO {_OLD}")
    if UPGRADING in meta:
        await make_layout(connection, database.spelling)


async def _copy(connection: Connection, database: Database, known: Known) -> Head | None:
    """Rewrite the next events, in one transaction; None once there are no more."""
    await connection.lock_head()
    meta: dict[str, str] = dict(await connection.execute(_META))
    ancestor = meta.get(UPGRADING)
    found = await connection.execute(_SEGMENT)
    position, last_hash = found[0] if found else (0, GENESIS_HASH)
    if ancestor is None or (position and last_hash == ancestor):
        return None
    sql = f"SELECT {_COLUMNS} FROM {_OLD} WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
    old = [_old_event(row) for row in await connection.execute(sql, (position, PAGE))]
    if not old:
        if last_hash != ancestor:
            raise _refusal(position, "the head row is not that of the last event")
        return None
    digest = bytes.fromhex(ancestor)
    if position:
        ((digest,),) = await connection.execute(_LAST_HASH, (position,))
    chain = Chain(Head(seq=position, hash=digest.hex()), known)
    await _learn(connection, database, known, chain, old)
    for event in old:
        last_hash = old_hash(last_hash, event)
    for (stream, at), some in groupby(old, key=lambda event: (event[1], event[5])):
        _extend(chain, known, stream, at, list(some))
    content = zstandard.compress(_ENCODER.encode(old), 9)
    await connection.insert(NAMES, chain.names)
    await connection.insert(PARTS, chain.parts)
    await connection.insert(EVENTS, chain.rows)
    await summarise(connection, position, chain.seq)
    await connection.insert(SEGMENTS, [(old[-1][0], last_hash, content)])
    failpoints.reach("store.before_commit")
    return Head(seq=chain.seq, hash=chain.hash.hex())


async def _learn(
    connection: Connection, database: Database, known: Known, chain: Chain, old: list[OldEvent]
) -> None:
    known.move(Head(seq=chain.seq, hash=chain.hash.hex()))
    asked = [
        Prepared(stream=event[1], events=((event[4], event[6], event[7], b""),), size=0)
        for event in old
    ]
    if wanted := known.missing(asked, prove=True):
        sql, values = known.question(wanted, database.spelling.clock)
        known.learn(await connection.execute(sql, values))


def _extend(chain: Chain, known: Known, stream: str, at: str, old: list[OldEvent]) -> None:
    """Rewrite what was appended to a stream at one moment as one append."""
    version = known.versions.get(stream, 0)
    events = tuple((event[4], event[6], event[7], _new_body(event)) for event in old)
    rows = chain.extend(
        Prepared(stream=stream, events=events, size=0),
        version,
        microseconds(datetime.fromisoformat(at)),
    )
    for was, row in zip(old, rows, strict=True):
        if not same_as_old(was, row):
            raise _refusal(was[0], "it would not say the same any more")


async def _finish(connection: Connection, database: Database) -> None:
    """Let the head row stand at the new chain's end, and the old table go."""
    if UPGRADING not in dict(await connection.execute(_META)):
        return
    for row in await connection.execute(
        "SELECT hash FROM events WHERE seq = (SELECT seq FROM head)"
    ):
        await connection.execute("UPDATE head SET hash = ? WHERE id = 1", (row[0].hex(),))
    for statement in (*database.triggers, database.spelling.view):
        await connection.change_layout(statement)
    failpoints.reach("store.before_commit")
    await connection.execute(f"DROP TABLE IF EXISTS {_OLD}")
    failpoints.reach("store.before_commit")
    await connection.execute("DELETE FROM meta WHERE meta.key = ?", (UPGRADING,))


class OldEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Events of schema 1 as they were, and the hash of the last of them."""

    events: list[OldEvent]
    last_seq: int
    last_hash: str


async def old_events(database: Database) -> AsyncGenerator[OldEvents, None]:
    """What is kept of schema 1, in seq order. Raises ChainBrokenError for what no upgrade wrote."""
    sql = """
    SELECT last_seq, hash, content FROM event_segments WHERE last_seq > ? ORDER BY last_seq LIMIT 1"""
    after = 0
    while rows := await database.fetch(sql, (after,)):
        after, last_hash, content = rows[0]
        try:
            events = _DECODER.decode(zstandard.decompress(content))
        except (zstandard.ZstdError, msgspec.DecodeError, TypeError) as error:
            raise ChainBrokenError(
                f"the events of schema 1 up to {after} cannot be read: {error}",
                seq=after,
                hint="Put back a copy of the ledger.",
            ) from error
        yield OldEvents(events=events, last_seq=after, last_hash=str(last_hash))
