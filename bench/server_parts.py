"""The parts of an append to a MariaDB ledger, as bench.parts times those in SQLite.

On one plain connection, one after the other: what the whole costs beyond their sum is the
event loop, and what the sum costs beyond raw's is the ledger.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from bench import raw_ledger
from bench.events import ledger_url, new_store, steps
from bench.ledger import EVENTS_EACH, append_together
from bench.options import Options
from bench.parts import Times, chain, tell, timed
from bench.report import Table
from ledger.drivers.url import MysqlUrl
from ledger.stores import open_store
from ledger.stores.base import Row
from ledger.stores.chain import prepare

APPENDERS = 8
BATCH = APPENDERS * EVENTS_EACH
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
                f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(rows[0]))})",
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
            ("insert: ours", us["ours insert"]),
            ("move the head row", us["ours move"]),
            ("commit, with its sync: raw", us["raw commit"]),
            ("commit, with its sync: ours", us["ours commit"]),
            ("the sum of ours", sum(us[name] for name in ours)),
            ("raw's: insert, commit", us["raw insert"] + us["raw commit"]),
            (f"ours as it is, {APPENDERS} tenants at once, {EVENTS_EACH} events each", us["whole"]),
        ),
    )
