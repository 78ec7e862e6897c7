"""What a SQLite ledger does in one hop: functions on a plain sqlite3 connection.

Invariant: each write here is one transaction, begun with BEGIN IMMEDIATE, and
leaves none open, whatever happens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import msgspec

from ledger import failpoints
from ledger.errors import ChainBrokenError
from ledger.events import Recorded
from ledger.stores.base import Head, Prepared, Script, StoredProjection
from ledger.stores.chain import (
    COLUMNS,
    FACT_COLUMNS,
    Chained,
    Row,
    chain_batch,
    chain_new,
    ids_of,
    new_scripts,
    recorded,
    streams_of,
    timestamp,
)
from ledger.stores.migrations import PROJECTION_KEY, SCHEMA_KEY, projection_seq, refuse_newer
from ledger.stores.sqlite_schema import roll_back
from ledger.stores.tip import Guess

# Bodies are stored as TEXT, for people and json_extract, but travel as bytes.
EVENT_COLUMNS: Final = ", ".join(
    "CAST(body AS BLOB)" if column == "body" else column for column in COLUMNS
)
# SQLite keeps whatever was put into a column; a fold relies on these types, and `verify` on none.
_CASTS: Final = {"version": "INTEGER", "body": "BLOB"}
FACTS: Final = ", ".join(
    column if column == "seq" else f"CAST({column} AS {_CASTS.get(column, 'TEXT')})"
    for column in FACT_COLUMNS
)
_TYPES: Final = (int, str, int, str, str, str, str, str, str, bytes, str, str)
_NO_TENANT: Final = tuple(
    type(None) if column == "tenant" else kind for column, kind in zip(COLUMNS, _TYPES, strict=True)
)
_ROW: Final = f"({', '.join('?' for _ in COLUMNS)})"
# 256 rows have 3,072 parameters; SQLite admits 32,766 (since 3.32).
_INSERT_EVENTS: Final = tuple(
    (count, f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES {', '.join([_ROW] * count)}")  # noqa: S608
    for count in (256, 64, 16, 4, 1)
)
_HEAD: Final = "SELECT seq, hash FROM head"
_HEAD_AND_SCHEMA: Final = "SELECT seq, hash, (SELECT value FROM meta WHERE key = ?) FROM head"
_SET_HEAD: Final = "UPDATE head SET seq = ?, hash = ?"
_VERSIONS: Final = """
SELECT wanted.value, (SELECT max(version) FROM events WHERE stream = wanted.value)
FROM json_each(?) AS wanted"""
_MISSING: Final = """
SELECT EXISTS (
    SELECT 1 FROM json_each(?) AS told
    WHERE NOT EXISTS (
        SELECT 1 FROM events WHERE stream = told.key AND version = told.value
    )
)"""
_RECORDED: Final = (
    f"SELECT {EVENT_COLUMNS} FROM events WHERE event_id IN (SELECT value FROM json_each(?))"  # noqa: S608
)
SCRIPT: Final = "SELECT CAST(content AS BLOB) FROM scripts WHERE sha256 = ?"
SCRIPTS: Final = (
    "SELECT sha256, CAST(content AS BLOB) FROM scripts WHERE sha256 > ? ORDER BY sha256 LIMIT ?"
)
_INSERT_SCRIPT: Final = "INSERT INTO scripts (sha256, algorithm, content) VALUES (?, ?, ?)"
_LOAD_PROJECTION: Final = """
SELECT meta.value, projections.key, projections.state
FROM meta LEFT JOIN projections ON projections.name = ?
WHERE meta.key = ?"""
_PROJECTION_SEQ: Final = "SELECT value FROM meta WHERE key = ?"
_SET_PROJECTION_SEQ: Final = """
INSERT INTO meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_DROP_PROJECTION: Final = "DELETE FROM projections WHERE name = ?"
_UPSERT_PROJECTION: Final = """
INSERT INTO projections (name, key, state, seq) VALUES (?, ?, ?, ?)
ON CONFLICT (name, key) DO UPDATE SET state = excluded.state, seq = excluded.seq"""


def read_head(db: sqlite3.Connection) -> Head:
    """The head row. Raises ChainBrokenError if it is gone."""
    row = db.execute(_HEAD).fetchone()
    if row is None:
        raise head_missing()
    return _head(row[0], row[1])


def _head(seq: object, last_hash: object) -> Head:
    """The head row as what it should be. Raises ChainBrokenError: SQLite keeps a word in a column of numbers."""
    if isinstance(seq, int) and isinstance(last_hash, str):
        return Head(seq=seq, hash=last_hash)
    raise ChainBrokenError(
        f"the ledger's head row cannot be read: seq {seq!r}, hash {last_hash!r}",
        seq=0,
        hint="Put back a copy of the ledger.",
    )


def head_missing() -> ChainBrokenError:
    """The head row was taken away: nothing can be appended, and nobody knows what the end was."""
    return ChainBrokenError(
        "the ledger's head row is missing",
        seq=0,
        hint="Run `ledger verify`, and restore the ledger from a copy.",
    )


def typed(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Rows of EVENT_COLUMNS, whose columns are what they should be. Raises ChainBrokenError for any other."""
    for row in rows:
        kinds = tuple(map(type, row))
        if kinds not in (_TYPES, _NO_TENANT):
            bad = next(
                column
                for column, kind, wanted in zip(COLUMNS, kinds, _TYPES, strict=True)
                if kind is not wanted and (column != "tenant" or kind is not type(None))
            )
            seq = row[0] if isinstance(row[0], int) else 0
            raise ChainBrokenError(
                f"event {seq} cannot be read: its {bad} is no {'number' if bad == 'version' else 'text'}",
                seq=seq,
                hint="Run `ledger verify`, and put back a copy of the ledger from before.",
            )
    return rows


def read_events(db: sqlite3.Connection, *, sql: str, values: Sequence[object]) -> list[Recorded]:
    """Events of one query over EVENT_COLUMNS."""
    return recorded(db.execute(sql, values))


def write_batch(
    db: sqlite3.Connection,
    *,
    batch: Sequence[Prepared],
    schema: int,
    stored: set[str],
    guess: Guess | None,
) -> Chained:
    """Append a batch and commit it once. `stored` are script keys known to be there already.

    It is inserted as `guess` has it if the ledger is as was guessed.
    That an event id is new is what nearly always holds, so it is the unique index
    that tells, and only then is it looked up and done again.
    """
    try:
        return _write_batch(
            db, batch=batch, schema=schema, stored=stored, guess=guess, look_up=False
        )
    except sqlite3.IntegrityError:
        return _write_batch(db, batch=batch, schema=schema, stored=stored, guess=None, look_up=True)


def _write_batch(
    db: sqlite3.Connection,
    *,
    batch: Sequence[Prepared],
    schema: int,
    stored: set[str],
    guess: Guess | None,
    look_up: bool,
) -> Chained:
    db.execute("BEGIN IMMEDIATE")
    try:
        row = db.execute(_HEAD_AND_SCHEMA, (SCHEMA_KEY,)).fetchone()
        if row is None:
            raise head_missing()
        refuse_newer(int(row[2]), schema)
        head = _head(row[0], row[1])
        if guess is not None and guess.base == head and _are_there(db, guess.claimed):
            chained = guess.chained
        else:
            chained = _chain(db, head, batch, look_up=look_up)
        _insert(db, chained, new_scripts(batch, chained.outcomes, stored))
        failpoints.reach("store.before_commit")
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    failpoints.reach("store.after_commit")
    return chained


def _are_there(db: sqlite3.Connection, claimed: Mapping[str, int]) -> bool:
    """Whether each of these streams has an event of this version."""
    if not claimed:
        return True
    ((missing,),) = db.execute(_MISSING, (msgspec.json.encode(claimed).decode(),))
    return not missing


def _chain(
    db: sqlite3.Connection, head: Head, batch: Sequence[Prepared], *, look_up: bool
) -> Chained:
    """The batch chained onto what the ledger holds at this moment."""
    wanted = msgspec.json.encode(streams_of(batch)).decode()
    versions = {stream: version or 0 for stream, version in db.execute(_VERSIONS, (wanted,))}
    now = timestamp(datetime.now(UTC))
    chained = None if look_up else chain_new(head, batch, dict(versions), now)
    if chained is not None:
        return chained
    ids = msgspec.json.encode(ids_of(batch)).decode()
    found = read_events(db, sql=_RECORDED, values=(ids,))
    existing = {event.event_id: event for event in found}
    return chain_batch(head, batch, versions, now, existing=existing)


def _insert(db: sqlite3.Connection, chained: Chained, scripts: Sequence[Script]) -> None:
    if scripts:
        db.executemany(
            _INSERT_SCRIPT,
            [(script.sha256, script.algorithm, script.content) for script in scripts],
        )
    if chained.rows:
        _insert_rows(db, chained.rows)
        db.execute(_SET_HEAD, (chained.head.seq, chained.head.hash))


def _insert_rows(db: sqlite3.Connection, rows: list[Row]) -> None:
    """As many rows to a statement as there are sizes of it: one statement runs without Python's lock.

    A statement per row would ask for the lock as often, and wait each time while
    the event loop works.
    """
    start = 0
    for count, statement in _INSERT_EVENTS:
        while start + count <= len(rows):
            db.execute(statement, list(chain.from_iterable(rows[start : start + count])))
            start += count


def load_projection(db: sqlite3.Connection, *, name: str) -> tuple[int, list[StoredProjection]]:
    """The seq and the rows of one moment: one statement reads both."""
    rows = db.execute(_LOAD_PROJECTION, (name, PROJECTION_KEY + name)).fetchall()
    if not rows:
        return 0, []
    return projection_seq(rows[0][0]), [
        StoredProjection(key=key, state=state) for _, key, state in rows if key is not None
    ]


def save_projection(
    db: sqlite3.Connection,
    *,
    schema: int,
    name: str,
    base_seq: int,
    seq: int,
    changed: Sequence[StoredProjection],
) -> bool:
    """Move a projection from `base_seq` to `seq`; False, with nothing stored, if it stands elsewhere.

    Raises NewerLedgerError: a newer version's projections are not ours to write.
    """
    key = PROJECTION_KEY + name
    db.execute("BEGIN IMMEDIATE")
    try:
        refuse_newer(int(db.execute(_PROJECTION_SEQ, (SCHEMA_KEY,)).fetchone()[0]), schema)
        row = db.execute(_PROJECTION_SEQ, (key,)).fetchone()
        if base_seq != -1 and base_seq != (projection_seq(row[0]) if row else 0):
            db.execute("ROLLBACK")
            return False
        if base_seq == -1:
            db.execute(_DROP_PROJECTION, (name,))
        db.executemany(
            _UPSERT_PROJECTION, [(name, stored.key, stored.state, seq) for stored in changed]
        )
        db.execute(_SET_PROJECTION_SEQ, (key, str(seq)))
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return True
