"""The parts of an append to a MariaDB ledger and of its replay, as bench.parts times those in SQLite.

On one plain connection, one after the other: what the whole costs beyond their sum is the
event loop, and what the sum costs beyond raw's is the ledger.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench import raw_ledger
from bench.events import ledger_url, new_store, steps
from bench.ledger import EVENTS_EACH, append_together, seed
from bench.options import Options
from bench.parts import Times, chain, tell, timed
from bench.report import Table
from ledger import events as ev
from ledger.drivers.url import MysqlUrl
from ledger.fleet.state import replay_fleet
from ledger.projections import Fact, FleetState
from ledger.stores import open_store
from ledger.stores.base import PAGE_EVENTS
from ledger.stores.chain import Row, prepare
from ledger.stores.mysql_sql import SPELLING

APPENDERS = 8
BATCH = APPENDERS * EVENTS_EACH
MARKS = ", ".join(["%s"] * raw_ledger.COLUMNS)
LOCK = "SELECT seq, hash FROM head WHERE id = 1 FOR UPDATE"
MOVE = "UPDATE head SET seq = %s WHERE id = 1"


async def insert(connection: Any, table: str, rows: list[Row], times: Times, name: str) -> None:
    """All rows in batches; what is around them in a transaction is told apart."""
    spent = dict.fromkeys(("lock", "insert", "move", "commit"), 0.0)
    ours = table == "events"
    async with connection.cursor() as cursor:
        for start in range(0, len(rows), BATCH):
            marks = [time.perf_counter()]
            if ours:
                await cursor.execute(LOCK)
            marks.append(time.perf_counter())
            await cursor.executemany(
                f"INSERT INTO {table} VALUES ({MARKS})",
                rows[start : start + BATCH],
            )
            marks.append(time.perf_counter())
            if ours:
                await cursor.execute(MOVE, (start + BATCH,))
            marks.append(time.perf_counter())
            await connection.commit()
            marks.append(time.perf_counter())
            for part, began, ended in zip(spent, marks[:-1], marks[1:], strict=True):
                spent[part] += ended - began
    for part, seconds in spent.items():
        times.setdefault(f"{name} {part}", []).append(seconds / len(rows))


async def server_append_parts(folder: Path, options: Options, told: list[Table]) -> None:
    """Tell microseconds an event."""
    count = {"quick": 16, "modest": 1024, "full": 2048}[options.size]
    requests = [steps(f"t{number}", EVENTS_EACH) for number in range(count)]
    events = count * EVENTS_EACH
    times: Times = {}
    for _ in range(options.rounds()):
        with timed(times, "encode", events):
            batch = [prepare(request) for request in requests]
        with timed(times, "chain", events):
            rows = chain(batch, BATCH)
        with ledger_url("mysql", folder, options) as (url, secret):
            assert isinstance(url, MysqlUrl)
            async with open_store(url, secret, create=True):
                connection = await raw_ledger.connect(url)
                async with connection.cursor() as cursor:
                    await cursor.execute(raw_ledger.TABLE)
                await insert(connection, "raw_events", raw_ledger.rows_of(requests), times, "raw")
                await insert(connection, "events", rows, times, "ours")
                connection.close()
        with ledger_url("mysql", folder, options) as (url, secret):
            async with new_store(url, secret) as store:
                whole = await append_together(store, requests, APPENDERS)
                times.setdefault("whole", []).append(whole.seconds)
    us = {name: statistics.median(readings) * 1e6 for name, readings in times.items()}
    ours = ("encode", "chain", "ours lock", "ours insert", "ours move", "ours commit")
    tell(
        told,
        f"An append of ours, {BATCH} events a transaction, mysql ledger",
        (
            ("encode and check", us["encode"]),
            ("number, hash, make rows", us["chain"]),
            ("lock the head row", us["ours lock"]),
            ("insert: raw's table, its rows", us["raw insert"]),
            ("insert: ours, with the index on event_id", us["ours insert"]),
            ("move the head row", us["ours move"]),
            ("commit, with its sync: raw", us["raw commit"]),
            ("commit, with its sync: ours", us["ours commit"]),
            ("the sum of ours", sum(us[name] for name in ours)),
            ("raw's: insert, commit", us["raw insert"] + us["raw commit"]),
            (f"ours as it is, {APPENDERS} tenants at once, {EVENTS_EACH} events each", us["whole"]),
        ),
    )


async def server_replay_parts(folder: Path, options: Options, told: list[Table]) -> None:
    """Tell microseconds an event."""
    times: Times = {}
    with ledger_url("mysql", folder, options) as (url, secret):
        assert isinstance(url, MysqlUrl)
        async with new_store(url, secret) as store:
            lives = {"quick": 20, "modest": 1500, "full": 6250}[options.size]
            events = await seed(store, lives)
            connection = await raw_ledger.connect(url)
            for _ in range(options.rounds()):
                with timed(times, "whole", events):
                    await replay_fleet(store)
                times.setdefault("raw", []).append((await raw_ledger.replay(url)).seconds)
                for name, columns in (
                    ("read four", "seq, version, at, body"),
                    ("read", SPELLING.facts),
                ):
                    await _read(connection, columns, name, events, times)
            connection.close()
    us = {name: statistics.median(readings) * 1e6 for name, readings in times.items()}
    tell(
        told,
        "A replay of ours, 16 events a tenant, mysql ledger",
        (
            ("read: raw's four columns", us["read four"]),
            ("read: ours, 7 columns", us["read"]),
            ("decode", us["decode"]),
            ("fold", us["fold"]),
            ("ours as it is", us["whole"]),
            ("raw as it is: read, decode, a fold into five numbers", us["raw"]),
        ),
    )


async def _read(connection: Any, columns: str, name: str, events: int, times: Times) -> None:
    fleet, read, decoded, folded, after = FleetState(), 0.0, 0.0, 0.0, 0
    sql = f"SELECT {columns} FROM events WHERE seq > %s ORDER BY seq LIMIT {PAGE_EVENTS}"
    async with connection.cursor() as cursor:
        while True:
            began = time.perf_counter()
            await cursor.execute(sql, (after,))
            rows: list[Fact] = list(await cursor.fetchall())
            got = time.perf_counter()
            read += got - began
            if rows and name == "read":
                deque(ev.decode_bodies([row[6] for row in rows]), maxlen=0)
                between = time.perf_counter()
                # Decodes once more: what is left of it is the fold.
                fleet.fold_facts(rows)
                decoded += between - got
                folded += time.perf_counter() - between - (between - got)
            if len(rows) < PAGE_EVENTS:
                break
            after = rows[-1][0]
    times.setdefault(name, []).append(read / events)
    if name == "read":
        times.setdefault("decode", []).append(decoded / events)
        times.setdefault("fold", []).append(folded / events)
