"""The ledger's raw side: the same events into and out of a plain table, with nothing around it.

Append is executemany of ready-made rows of about 320 bytes, one transaction a batch, as durable as
ours (WAL and synchronous=FULL; InnoDB as the server is set): what an event says as text, one column
each, and the one index that an event stream needs; no triggers, no hash. Replay is such rows, decoded
by msgspec's tagged union, folded into a few numbers a tenant.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiomysql
import msgspec

from bench.children import Reading
from bench.server import PASSWORD_ENV
from ledger import events as ev
from ledger.drivers.url import MysqlUrl, SqliteUrl
from ledger.stores.base import Append

TABLE = (
    "CREATE TABLE raw_events (seq INTEGER NOT NULL PRIMARY KEY, stream VARCHAR(200) NOT NULL,"
    " version INTEGER NOT NULL, type VARCHAR(40) NOT NULL, at VARCHAR(40) NOT NULL,"
    " run VARCHAR(64) NOT NULL, actor VARCHAR(255) NOT NULL, body TEXT NOT NULL,"
    " UNIQUE (stream, version))"
)
INSERT = "INSERT INTO raw_events VALUES ({})"
COLUMNS = 8
AT = "2026-01-01T00:00:00.000000Z"
SELECT = "SELECT stream, version, at, body FROM raw_events WHERE seq > {} ORDER BY seq LIMIT {}"
FETCH = 10_000
FILL = 1_000

Row = tuple[object, ...]


def rows_of(requests: Sequence[Append]) -> list[Row]:
    """Ready-made rows: encoding them is not timed."""
    rows: list[Row] = []
    versions: dict[str, int] = {}
    for request in requests:
        for new in request.events:
            version = versions[request.stream] = versions.get(request.stream, 0) + 1
            body = ev.encode_body(new.event).decode()
            kind = str(new.event.__struct_config__.tag)
            place = (len(rows) + 1, request.stream, version, kind, AT)
            rows.append((*place, new.run, new.actor, body))
    return rows


def _batches(rows: list[Row], batch: int) -> list[list[Row]]:
    return [rows[start : start + batch] for start in range(0, len(rows), batch)]


def append_sqlite(path: Path, rows: list[Row], batch: int) -> Reading:
    """Seconds per event."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = FULL")
    database.execute(TABLE)
    insert = INSERT.format(", ".join("?" * COLUMNS))
    began = time.perf_counter()
    for part in _batches(rows, batch):
        database.execute("BEGIN IMMEDIATE")
        database.executemany(insert, part)
        database.execute("COMMIT")
    seconds = time.perf_counter() - began
    database.close()
    return Reading(seconds=seconds / len(rows))


async def connect(url: MysqlUrl) -> Any:
    """A plain aiomysql connection."""
    return await aiomysql.connect(  # type: ignore[no-untyped-call]
        host=url.host,
        port=url.port,
        unix_socket=url.unix_socket,
        user=url.user,
        password=os.environ.get(PASSWORD_ENV, ""),
        db=url.database,
        charset="utf8mb4",
        autocommit=False,
    )


async def append_mysql(url: MysqlUrl, rows: list[Row], batch: int) -> Reading:
    """Seconds per event."""
    connection = await connect(url)
    async with connection.cursor() as cursor:
        await cursor.execute(TABLE)
        insert = INSERT.format(", ".join(["%s"] * COLUMNS))
        began = time.perf_counter()
        for part in _batches(rows, batch):
            await cursor.executemany(insert, part)
            await connection.commit()
        seconds = time.perf_counter() - began
    connection.close()
    return Reading(seconds=seconds / len(rows))


class _State(msgspec.Struct):
    """What the raw fold keeps of a tenant."""

    version: int = 0
    epoch: int = 0
    steps: int = 0
    applied: int = 0
    at: str = ""


class Fold:
    """The smallest fold that still answers what stands where."""

    def __init__(self) -> None:
        self.tenants: dict[str, _State] = {}
        self.events = 0
        self._decode = msgspec.json.Decoder(ev.AnyEvent).decode

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Decode and fold."""
        tenants, decode = self.tenants, self._decode
        for stream, version, at, body in rows:
            event = decode(body)
            state = tenants.get(stream)
            if state is None:
                state = tenants[stream] = _State()
            state.version = version
            state.at = at
            kind = type(event)
            if kind is ev.StepApplied:
                state.steps += 1
            elif kind is ev.Started:
                state.epoch = event.epoch
            elif kind is ev.Completed:
                state.applied += 1
        self.events += len(rows)


async def fill(url: SqliteUrl | MysqlUrl, requests: Sequence[Append]) -> None:
    """Rows for `replay`, in the ledger's own database."""
    rows = rows_of(requests)
    if isinstance(url, SqliteUrl):
        append_sqlite(Path(f"{url.path}.raw"), rows, FILL)
    else:
        await append_mysql(url, rows, FILL)


async def replay(url: SqliteUrl | MysqlUrl) -> Reading:
    """Seconds per event."""
    fold = Fold()
    began = time.perf_counter()
    if isinstance(url, SqliteUrl):
        database = sqlite3.connect(f"{url.path}.raw")
        cursor = database.execute(SELECT.format(0, -1))
        while rows := cursor.fetchmany(FETCH):
            fold.add(rows)
        database.close()
    else:
        connection = await connect(url)
        async with connection.cursor() as cursor:
            while True:
                await cursor.execute(SELECT.format(fold.events, FETCH))
                rows = await cursor.fetchall()
                fold.add(rows)
                if len(rows) < FETCH:
                    break
        connection.close()
    return Reading(seconds=(time.perf_counter() - began) / max(1, fold.events))
