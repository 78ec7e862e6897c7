"""The parts of an append to a SQLite ledger and of its replay, each timed by itself, for `bench.profile`.

The same calls as the store makes, one after the other in one thread, so that nothing
waits for anything: what the whole costs beyond their sum is the event loop, the hops
to the writer's thread and the interpreter's lock.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench import raw_ledger
from bench.events import ledger_url, life, new_store, steps
from bench.ledger import EVENTS_EACH, append_together
from bench.options import Options
from bench.report import Table
from ledger.events import GENESIS_HASH
from ledger.fleet.state import replay_fleet
from ledger.projections import FleetState
from ledger.stores.base import PAGE_EVENTS, Append, Filter, Head, Prepared, Row
from ledger.stores.chain import chain_batch, prepare
from ledger.stores.filters import pages
from ledger.stores.known import KINDS, Known
from ledger.stores.reading import Reader
from ledger.stores.schema import EVENTS, HEAD, create_table
from ledger.stores.sqlite import SPELLING, TRIGGERS
from ledger.stores.store import Store

AT = 1_767_225_600_000_000
APPENDERS = 64
BATCH = 128
"""Events a transaction: what forms by itself with so many tenants at once."""

OURS = create_table(EVENTS, SPELLING)
HEAD_TABLE = create_table(HEAD, SPELLING)
INSERT_TRIGGER = next(text for text in TRIGGERS if "events_refuse_replace" in text)

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
            marks = f"({', '.join('?' * len(rows[0]))})"
            sql = f"INSERT INTO {table} VALUES {', '.join([marks] * len(part))}"
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
    head, known, rows = Head(seq=0, hash=GENESIS_HASH), Known(), list[Row]()
    known.learn([(-kind, 0, None, None) for kind in KINDS])
    each = max(1, size // EVENTS_EACH)
    for start in range(0, len(batch), each):
        chained = chain_batch(head, batch[start : start + each], known, AT)
        head = chained.head
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
            ("insert: ours without the trigger that refuses REPLACE", us["no trigger"]),
            ("insert: ours", us["insert"]),
            ("commit, with its sync", us["commit"]),
            ("the sum of ours: encode, number, insert, commit", sum_of),
            ("raw's: insert, commit", us["raw"] + us["commit"]),
            (f"ours as it is, {APPENDERS} tenants at once, {EVENTS_EACH} events each", us["whole"]),
        ),
    )


async def replay_parts(engine: str, folder: Path, options: Options, told: list[Table]) -> None:
    """Tell microseconds an event."""
    times: Times = {}
    with ledger_url(engine, folder, options) as (url, secret):
        async with new_store(url, secret) as store:
            lives = {"quick": 20, "modest": 3000, "full": 12_500}[options.size]
            requests = [life(f"t{number}") for number in range(lives)]
            await append_together(store, requests, APPENDERS)
            await raw_ledger.fill(url, requests)
            events = lives * len(requests[0].events)
            for _ in range(options.rounds()):
                with timed(times, "whole", events):
                    await replay_fleet(store)
                times.setdefault("raw", []).append((await raw_ledger.replay(url)).seconds)
                await _replay_once(store, events, times)
    us = {name: statistics.median(readings) * 1e6 for name, readings in times.items()}
    tell(
        told,
        f"A replay of ours, {len(life('t').events)} events a tenant, {engine} ledger",
        (
            ("read", us["read"]),
            ("names, and decode what differs", us["facts"]),
            ("fold", us["fold"]),
            ("ours as it is", us["whole"]),
            ("raw as it is: read, decode, a fold into five numbers", us["raw"]),
        ),
    )


async def _replay_once(store: Store, events: int, times: Times) -> None:
    reader, fleet = Reader(store._database.fetch), FleetState()
    spent = dict.fromkeys(("read", "facts", "fold"), 0.0)
    began = time.perf_counter()
    async for rows in pages(store._database, Filter(), PAGE_EVENTS):
        read = time.perf_counter()
        facts = await reader.facts(rows)
        made = time.perf_counter()
        fleet.fold_facts(facts)
        folded = time.perf_counter()
        spent["read"] += read - began
        spent["facts"] += made - read
        spent["fold"] += folded - made
        began = folded
    for name, seconds in spent.items():
        times.setdefault(name, []).append(seconds / events)


def tell(told: list[Table], title: str, rows: Sequence[tuple[str, float]]) -> None:
    """Add a table of microseconds."""
    shown = tuple((what, f"{value:.2f}") for what, value in rows)
    told.append(Table(title=title, columns=("what", "us an event"), rows=shown))
