"""The parts of an append to a SQLite ledger and of its replay, each timed by itself, for `bench.profile`.

The same calls as the store makes, one after the other in one thread, so that nothing
waits for anything: what the whole costs beyond their sum is the event loop, the hops
to the writer's thread and the interpreter's lock.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench import raw_ledger
from bench.events import ledger_url, life, new_store, steps
from bench.ledger import EVENTS_EACH, append_together, seed
from bench.options import Options
from bench.report import Table
from ledger import events as ev
from ledger.drivers.url import SqliteUrl
from ledger.events import GENESIS_HASH
from ledger.fleet.state import replay_fleet
from ledger.projections import Fact, FleetState
from ledger.stores.base import PAGE_EVENTS, Append, Head, Prepared
from ledger.stores.chain import FACT_COLUMNS, Row, chain_batch, prepare
from ledger.stores.schema import EVENTS, HEAD, create_table
from ledger.stores.sqlite import SPELLING, TRIGGERS

APPENDERS = 64
BATCH = 128
"""Events a transaction: what forms by itself with so many tenants at once."""

OURS = create_table(EVENTS, SPELLING)
HEAD_TABLE = create_table(HEAD, SPELLING)
INSERT_TRIGGER = TRIGGERS[2]
NO_ID_INDEX = OURS.replace(",\n    UNIQUE (event_id)", "")
ROW = f"({', '.join('?' * raw_ledger.COLUMNS)})"

Times = dict[str, list[float]]
"""Seconds per event, a reading a round."""


@contextmanager
def timed(times: Times, name: str, events: int) -> Iterator[None]:
    """Add the wall clock of the block to `times`."""
    began = time.perf_counter()
    yield
    times.setdefault(name, []).append((time.perf_counter() - began) / events)


def insert(path: Path, tables: Sequence[str], rows: list[Row], times: Times, name: str) -> None:
    """All rows in batches; the transactions' ends are told apart."""
    table = "raw_events" if "raw_events" in tables[0] else "events"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute("PRAGMA synchronous = FULL")
        for text in tables:
            database.execute(text)
        spent = committed = 0.0
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            sql = f"INSERT INTO {table} VALUES {', '.join([ROW] * len(part))}"
            values = [value for row in part for value in row]
            began = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.execute(sql, values)
            between = time.perf_counter()
            database.execute("COMMIT")
            spent += between - began
            committed += time.perf_counter() - between
    times.setdefault(name, []).append(spent / len(rows))
    times.setdefault("commit", []).append(committed / len(rows))
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()


def chain(batch: list[Prepared], size: int) -> list[Row]:
    """Rows, hashed, as the store makes them, so many events at a time."""
    head, versions, rows = Head(seq=0, hash=GENESIS_HASH), dict[str, int](), list[Row]()
    each = max(1, size // EVENTS_EACH)
    for start in range(0, len(batch), each):
        chained = chain_batch(head, batch[start : start + each], versions, raw_ledger.AT)
        head = chained.head
        versions.update(chained.versions)
        rows += chained.rows
    return rows


async def append_parts(folder: Path, options: Options, told: list[Table]) -> None:
    """Tell microseconds an event."""
    count = {"quick": 64, "modest": 4096, "full": 8192}[options.size]
    requests: list[Append] = [steps(f"t{number}", EVENTS_EACH) for number in range(count)]
    events = count * EVENTS_EACH
    times: Times = {}
    head = f"INSERT INTO head VALUES (1, 0, '{GENESIS_HASH}')"
    path = folder / "parts.db"
    for _ in range(options.rounds()):
        with timed(times, "encode", events):
            batch = [prepare(request) for request in requests]
        with timed(times, "chain", events):
            rows = chain(batch, BATCH)
        insert(path, [raw_ledger.TABLE], raw_ledger.rows_of(requests), times, "raw")
        insert(path, [NO_ID_INDEX, HEAD_TABLE, head], rows, times, "versions only")
        insert(path, [OURS, HEAD_TABLE, head], rows, times, "no trigger")
        insert(path, [OURS, HEAD_TABLE, head, INSERT_TRIGGER], rows, times, "insert")
        with ledger_url("sqlite", folder, options) as (url, secret):
            async with new_store(url, secret) as store:
                times.setdefault("whole", []).append(
                    (await append_together(store, requests, APPENDERS)).seconds
                )
    us = {name: statistics.median(readings) * 1e6 for name, readings in times.items()}
    sum_of = us["encode"] + us["chain"] + us["insert"] + us["commit"]
    tell(
        told,
        f"An append of ours, {BATCH} events a transaction, sqlite ledger",
        (
            ("encode and check", us["encode"]),
            ("number, hash, make rows", us["chain"]),
            ("insert: raw's table, its rows", us["raw"]),
            ("insert: ours, neither the index on event_id nor the trigger", us["versions only"]),
            ("insert: ours without the trigger that refuses REPLACE", us["no trigger"]),
            ("insert: ours", us["insert"]),
            ("commit, with its sync", us["commit"]),
            ("the sum of ours: encode, number, insert, commit", sum_of),
            ("raw's: insert, commit", us["raw"] + us["commit"]),
            (f"ours as it is, {APPENDERS} tenants at once, {EVENTS_EACH} events each", us["whole"]),
        ),
    )


async def replay_parts(folder: Path, options: Options, told: list[Table]) -> None:
    """Tell microseconds an event."""
    times: Times = {}
    with ledger_url("sqlite", folder, options) as (url, secret):
        assert isinstance(url, SqliteUrl)
        async with new_store(url, secret) as store:
            lives = {"quick": 20, "modest": 3000, "full": 12_500}[options.size]
            events = await seed(store, lives)
            for _ in range(options.rounds()):
                with timed(times, "whole", events):
                    await replay_fleet(store)
                times.setdefault("raw", []).append((await raw_ledger.replay(url)).seconds)
                _replay_once(Path(url.path), events, times)
    us = {name: statistics.median(readings) * 1e6 for name, readings in times.items()}
    tell(
        told,
        f"A replay of ours, {len(life('t').events)} events a tenant, sqlite ledger",
        (
            ("read: raw's four columns", us["read four"]),
            (f"read: ours, {len(FACT_COLUMNS)} columns", us["read"]),
            ("decode", us["decode"]),
            ("fold", us["fold"]),
            ("ours as it is", us["whole"]),
            ("raw as it is: read, decode, a fold into five numbers", us["raw"]),
        ),
    )


def _replay_once(path: Path, events: int, times: Times) -> None:
    with closing(sqlite3.connect(path)) as database:

        def pages(columns: str, one: Callable[[list[Fact]], None]) -> float:
            spent, after = 0.0, 0
            sql = f"SELECT {columns} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
            while True:
                began = time.perf_counter()
                rows = database.execute(sql, (after, PAGE_EVENTS)).fetchall()
                spent += time.perf_counter() - began
                if rows:
                    one(rows)
                    after = rows[-1][0]
                if len(rows) < PAGE_EVENTS:
                    return spent / events

        fleet, decoded, folded = FleetState(), 0.0, 0.0

        def fold(rows: list[Fact]) -> None:
            nonlocal decoded, folded
            began = time.perf_counter()
            # As a fold does it: none of them is kept.
            deque(ev.decode_bodies([row[6] for row in rows]), maxlen=0)
            between = time.perf_counter()
            # Decodes once more: what is left of it is the fold.
            fleet.fold_facts(rows)
            decoded += between - began
            folded += time.perf_counter() - between - (between - began)

        times.setdefault("read four", []).append(pages("seq, version, at, body", lambda rows: None))
        times.setdefault("read", []).append(pages(", ".join(FACT_COLUMNS), fold))
    times.setdefault("decode", []).append(decoded / events)
    times.setdefault("fold", []).append(folded / events)


def tell(told: list[Table], title: str, rows: Sequence[tuple[str, float]]) -> None:
    """Add a table of microseconds."""
    shown = tuple((what, f"{value:.2f}") for what, value in rows)
    told.append(Table(title=title, columns=("what", "us an event"), rows=shown))
