"""What a MySQL or MariaDB ledger does in one transaction, on a guarded connection.

Invariant: whoever holds the head row, and nobody else, appends; all else in the
transaction is read after that lock was got.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any, Final

import anyio

from ledger import failpoints
from ledger.drivers.mysql import DriverError, MysqlConnection, QueryError, Row
from ledger.errors import ChainBrokenError
from ledger.events import Recorded
from ledger.stores.base import Head, Prepared, Script, StoredProjection
from ledger.stores.chain import (
    COLUMNS,
    FACT_COLUMNS,
    Chained,
    chain_batch,
    chain_new,
    ids_of,
    new_scripts,
    recorded,
    streams_of,
    timestamp,
)
from ledger.stores.migrations import PROJECTION_KEY, SCHEMA_KEY, projection_seq, refuse_newer
from ledger.stores.tip import Tip

# Bodies are LONGTEXT, for people and JSON functions, but come back as bytes.
EVENT_COLUMNS: Final = ", ".join(
    "CAST(body AS BINARY)" if column == "body" else column for column in COLUMNS
)
FACTS: Final = ", ".join(
    "CAST(body AS BINARY)" if column == "body" else column for column in FACT_COLUMNS
)
_HEAD: Final = "SELECT seq, hash FROM head"
# Its clock is from before the lock was got: of use only where nobody appended meanwhile.
_LOCK_HEAD: Final = """
SELECT head.seq, head.hash, meta.value, UTC_TIMESTAMP(6)
FROM head LEFT JOIN meta ON meta.`key` = %s
WHERE head.id = 1 FOR UPDATE"""
_SET_HEAD: Final = "UPDATE head SET seq = %s, hash = %s WHERE id = 1"
_STATE: Final = """
SELECT UTC_TIMESTAMP(6), versions.stream, versions.version
FROM meta
LEFT JOIN (
    SELECT stream, MAX(version) AS version FROM events WHERE stream IN ({marks}) GROUP BY stream
) AS versions ON TRUE
WHERE meta.`key` = %s"""
_COUNT: Final = "SELECT COUNT(*) FROM events WHERE {where}"
_EVENT: Final = "(stream = %s AND version = %s)"
_RECORDED: Final = f"SELECT {EVENT_COLUMNS} FROM events WHERE event_id IN ({{marks}})"  # noqa: S608
_INSERT_EVENTS: Final = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES "  # noqa: S608
_SEPARATOR: Final = "\x1f"
_KNOWN_SCRIPTS: Final = "SELECT sha256 FROM scripts WHERE sha256 IN ({marks})"
SCRIPT: Final = "SELECT CAST(content AS BINARY) FROM scripts WHERE sha256 = %s"
SCRIPTS: Final = (
    "SELECT sha256, CAST(content AS BINARY) FROM scripts WHERE sha256 > %s ORDER BY sha256 LIMIT %s"
)
_INSERT_SCRIPTS: Final = "INSERT INTO scripts (sha256, algorithm, content) VALUES "
_SCRIPT_MARKS: Final = "(%s, %s, %s)"
_LOAD_PROJECTION: Final = """
SELECT meta.value, projections.`key`, projections.state
FROM meta LEFT JOIN projections ON projections.name = %s
WHERE meta.`key` = %s"""
_PROJECTION_SEQ: Final = "SELECT value FROM meta WHERE `key` = %s FOR UPDATE"
_KNOWN_SCHEMA: Final = "SELECT value FROM meta WHERE `key` = %s LOCK IN SHARE MODE"
_SET_PROJECTION_SEQ: Final = "REPLACE INTO meta (`key`, value) VALUES (%s, %s)"
_DROP_PROJECTION: Final = "DELETE FROM projections WHERE name = %s"
_UPSERT_PROJECTION: Final = "REPLACE INTO projections (name, `key`, state, seq) VALUES "
# Drivers disagree on how to send bytes, but not on hexadecimal text.
_PROJECTION_MARKS: Final = "(%s, %s, UNHEX(%s), %s)"

_DUPLICATE: Final = 1062
_ROLLBACK_SECONDS: Final = 5.0
_STATEMENT_BYTES: Final = 1024 * 1024


@asynccontextmanager
async def transaction(connection: MysqlConnection) -> AsyncIterator[None]:
    """Commit at the end of the block; roll back, within a deadline, if it raises.

    The connection does not commit by itself, so that the first statement begins.
    """
    try:
        yield
        await connection.commit()
    except BaseException as error:
        with anyio.move_on_after(_ROLLBACK_SECONDS, shield=True):
            try:
                await connection.rollback()
            except DriverError as second:
                error.add_note(f"The rollback failed too: {second}")
        raise


async def read_head(connection: MysqlConnection) -> Head:
    """The head row. Raises ChainBrokenError if it is gone."""
    return _head(await connection.fetch(_HEAD))


def _head(rows: Sequence[Row]) -> Head:
    if not rows:
        raise ChainBrokenError(
            "the ledger's head row is missing",
            seq=0,
            hint="Run `ledger verify`, and restore the ledger from a copy.",
        )
    return Head(seq=int(rows[0][0]), hash=str(rows[0][1]))


async def write_batch(
    connection: MysqlConnection,
    *,
    batch: Sequence[Prepared],
    schema: int,
    stored: set[str],
    packet_bytes: int,
    again: bool,
    tip: Tip,
) -> Chained:
    """Append a batch and commit it once. `stored` are script keys known to be there already.

    `again` says that an earlier try may have been committed: then event ids are
    looked up first. Otherwise the unique index tells, as it nearly never has to.
    `tip` is where this process left the ledger, and moves on.
    """

    async def attempt(look_up: bool) -> Chained:
        async with transaction(connection):
            chained = await _append(
                connection,
                batch=batch,
                schema=schema,
                stored=stored,
                packet_bytes=packet_bytes,
                look_up=look_up,
                tip=tip,
            )
            failpoints.reach("store.before_commit")
        failpoints.reach("store.after_commit")
        return chained

    try:
        try:
            return await attempt(again)
        except QueryError as error:
            tip.forget()
            if again or error.code != _DUPLICATE:
                raise
            return await attempt(True)
    except BaseException:
        tip.forget()
        raise


async def _append(
    connection: MysqlConnection,
    *,
    batch: Sequence[Prepared],
    schema: int,
    stored: set[str],
    packet_bytes: int,
    look_up: bool,
    tip: Tip,
) -> Chained:
    rows = await connection.fetch(_LOCK_HEAD, (SCHEMA_KEY,))
    head = _head(rows)
    refuse_newer(int(rows[0][2]), schema)
    guess = None
    if not look_up and tip.stands_at(head):
        guess = tip.chain(batch, timestamp(rows[0][3].replace(tzinfo=UTC)))
    if guess is not None and await _are_there(connection, guess.claimed):
        chained = guess.chained
    else:
        chained = await _chain(connection, head, batch, look_up=look_up)
        tip.settle(chained.head)
    await _insert_scripts(
        connection, new_scripts(batch, chained.outcomes, stored), packet_bytes=packet_bytes
    )
    if chained.rows:
        literals = [_literal(connection, row) for row in chained.rows]
        for chunk in _packets(literals, min(packet_bytes // 2, _STATEMENT_BYTES)):
            await connection.execute(_INSERT_EVENTS + ", ".join(chunk))
        await connection.execute(_SET_HEAD, (chained.head.seq, chained.head.hash))
    return chained


async def _are_there(connection: MysqlConnection, claimed: Mapping[str, int]) -> bool:
    """Whether each of these streams has an event of this version."""
    if not claimed:
        return True
    where = " OR ".join([_EVENT] * len(claimed))
    values = [value for claim in claimed.items() for value in claim]
    ((found,),) = await connection.fetch(_COUNT.format(where=where), values)
    return bool(found == len(claimed))


async def _chain(
    connection: MysqlConnection, head: Head, batch: Sequence[Prepared], *, look_up: bool
) -> Chained:
    """The batch chained onto what the ledger holds at this moment, the head row being locked."""
    streams = streams_of(batch)
    # A statement of its own, after the lock: its snapshot and its clock are from then.
    rows = await connection.fetch(_STATE.format(marks=_marks(streams)), (*streams, SCHEMA_KEY))
    now = rows[0][0]
    versions = {str(row[1]): int(row[2]) for row in rows if row[1] is not None}
    at = timestamp(now.replace(tzinfo=UTC))
    chained = None if look_up else chain_new(head, batch, dict.fromkeys(streams, 0) | versions, at)
    if chained is None:
        existing: dict[str, Recorded] = {}
        ids = ids_of(batch)
        if ids:
            rows = await connection.fetch(_RECORDED.format(marks=_marks(ids)), ids)
            existing = {event.event_id: event for event in recorded(rows)}
        chained = chain_batch(head, batch, versions, at, existing=existing)
    return chained


async def _insert_scripts(
    connection: MysqlConnection, scripts: Sequence[Script], *, packet_bytes: int
) -> None:
    """Insert the texts that are not there; under the head row's lock nobody else adds one."""
    if not scripts:
        return
    keys = [script.sha256 for script in scripts]
    rows = await connection.fetch(_KNOWN_SCRIPTS.format(marks=_marks(keys)), keys)
    known = {key for (key,) in rows}
    missing = [
        (script.sha256, script.algorithm, script.content)
        for script in scripts
        if script.sha256 not in known
    ]
    await _insert(connection, _INSERT_SCRIPTS, _SCRIPT_MARKS, missing, packet_bytes=packet_bytes)


async def load_projection(
    connection: MysqlConnection, *, name: str
) -> tuple[int, list[StoredProjection]]:
    """The seq and the rows of one moment: one statement reads both."""
    rows = await connection.fetch(_LOAD_PROJECTION, (name, PROJECTION_KEY + name))
    if not rows:
        return 0, []
    return projection_seq(rows[0][0]), [
        StoredProjection(key=str(key), state=bytes(state))
        for _, key, state in rows
        if key is not None
    ]


async def save_projection(
    connection: MysqlConnection,
    *,
    schema: int,
    name: str,
    base_seq: int,
    seq: int,
    changed: Sequence[StoredProjection],
    packet_bytes: int,
) -> bool:
    """Move a projection from `base_seq` to `seq`; False, with nothing stored, if it stands elsewhere.

    Raises NewerLedgerError: a newer version's projections are not ours to write.
    """
    key = PROJECTION_KEY + name
    async with transaction(connection):
        known = await connection.fetch(_KNOWN_SCHEMA, (SCHEMA_KEY,))
        refuse_newer(int(known[0][0]), schema)
        rows = await connection.fetch(_PROJECTION_SEQ, (key,))
        if base_seq != -1 and base_seq != (projection_seq(rows[0][0]) if rows else 0):
            return False
        if base_seq == -1:
            await connection.execute(_DROP_PROJECTION, (name,))
        values = [(name, stored.key, stored.state.hex(), seq) for stored in changed]
        await _insert(
            connection, _UPSERT_PROJECTION, _PROJECTION_MARKS, values, packet_bytes=packet_bytes
        )
        await connection.execute(_SET_PROJECTION_SEQ, (key, str(seq)))
    return True


async def _insert(
    connection: MysqlConnection,
    insert: str,
    marks: str,
    rows: Sequence[Sequence[Any]],
    *,
    packet_bytes: int,
) -> None:
    for chunk in _chunks(rows, min(packet_bytes // 2, _STATEMENT_BYTES)):
        sql = insert + ", ".join([marks] * len(chunk))
        await connection.execute(sql, [value for row in chunk for value in row])


def _literal(connection: MysqlConnection, row: Row) -> str:
    """An event's row as it stands in VALUES.

    What may hold a quote is escaped by one call: that is done character by
    character, so that it makes no difference, and twelve calls took longer than
    all else here. Type, time and hashes are made of letters, digits, `_-:.`.
    """
    seq, stream, version, event_id, type_name, at, run, actor, tenant, body, before, hash_ = row
    fields = (stream, event_id, run, actor, tenant or "", body)
    parts = _escaped(connection, _SEPARATOR.join(fields)).split(_SEPARATOR)
    if len(parts) != len(fields):
        parts = [_escaped(connection, field) for field in fields]
    stream, event_id, run, actor, told, body = parts
    where = "NULL" if tenant is None else f"'{told}'"
    return (
        f"({seq}, '{stream}', {version}, '{event_id}', '{type_name}', '{at}', '{run}', "
        f"'{actor}', {where}, '{body}', '{before}', '{hash_}')"
    )


def _escaped(connection: MysqlConnection, text: str) -> str:
    """The text as it stands between two quotes."""
    return connection.with_parameters("%s", (text,))[1:-1]


def _packets(literals: Sequence[str], limit_bytes: int) -> Iterator[list[str]]:
    """As many rows to a statement as fit; one that is too long by itself goes alone."""
    chunk: list[str] = []
    size = 0
    for literal in literals:
        length = len(literal) if literal.isascii() else len(literal.encode())
        if chunk and size + length > limit_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(literal)
        size += length + 2
    if chunk:
        yield chunk


def _chunks(rows: Sequence[Sequence[Any]], limit_bytes: int) -> Iterator[list[Sequence[Any]]]:
    """As many rows to a statement as fit; one that is too long by itself goes alone."""
    chunk: list[Sequence[Any]] = []
    size = 0
    for row in rows:
        # Characters, doubled for escapes and for UTF-8; numbers and quotes are in the constant.
        row_bytes = 200 + 2 * sum(len(value) for value in row if isinstance(value, str))
        if chunk and size + row_bytes > limit_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row_bytes
    if chunk:
        yield chunk


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))
