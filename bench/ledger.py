"""The ledger itself: append, replay and projections, beside raw SQL and the `eventsourcing` package.

    python -m bench.ledger [--engine sqlite] [--tenants N]

Append by the events in one request, and by the number of tenants that append at
the same time: batches form by themselves, and raw gets the batch size that ours
reached. `--tenants` is the number of tenants whose life is replayed (16 events each).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import anyio
import msgspec

from bench import raw_ledger
from bench.child import Orders
from bench.children import Reading, run_children
from bench.events import Url, ledger_url, life, new_store, steps
from bench.fleet import no_server, work_folder
from bench.known_peers import SETUP, VENV_PYTHON
from bench.measure import median, ratio
from bench.options import Options
from bench.report import Report, Table, TargetRow, main, unmeasured
from bench.server import Server
from ledger.api.verify import verify_store
from ledger.drivers.url import MysqlUrl, SecretSource, SqliteUrl
from ledger.fleet.state import load_fleet, replay_fleet, save_fleet
from ledger.stores.base import Append
from ledger.stores.store import Store

BATCHES = (1, 10, 100, 1000)
APPENDERS = (1, 8, 64, 256)
EVENTS_EACH = 4
SEED_BATCH = 64


def loop_run(work: Callable[[], Awaitable[None]]) -> None:
    """With uvloop where it is installed, as the command does."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        anyio.run(work)
    else:
        anyio.run(work, backend_options={"use_uvloop": True})


async def raw_append(url: Url, folder: Path, requests: list[Append], batch: int) -> Reading:
    """The raw side in the same kind of database."""
    rows = raw_ledger.rows_of(requests)
    if isinstance(url, MysqlUrl):
        return await raw_ledger.append_mysql(url, rows, batch)
    return raw_ledger.append_sqlite(Path(f"{url.path}.raw"), rows, batch)


async def append_in_turn(store: Store, requests: list[Append]) -> Reading:
    """One after the other; seconds per event."""
    events = sum(len(request.events) for request in requests)
    began = time.perf_counter()
    for request in requests:
        await store.append(request)
    return Reading(seconds=(time.perf_counter() - began) / events)


async def append_together(store: Store, requests: list[Append], appenders: int) -> Reading:
    """So many tenants at the same time, each waiting for its own; seconds per event."""
    events = sum(len(request.events) for request in requests)
    waiting = iter(requests)

    async def tenant() -> None:
        for request in waiting:
            await store.append(request)

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(appenders):
            group.start_soon(tenant)
    return Reading(seconds=(time.perf_counter() - began) / events)


Line = tuple[str, list[Reading], list[Reading], float]
"""What, ours, raw, and the batch that raw was given."""


async def by_batch(engine: str, folder: Path, options: Options) -> list[Line]:
    """Requests of 1, 10, 100 and 1,000 events, one after the other."""
    # Enough events that the log is checkpointed, which is a part of the price.
    total = {"quick": 100, "modest": 20_000, "full": 50_000}[options.size]
    lines: list[Line] = []
    for batch in BATCHES:
        if batch > total:
            continue
        requests = [
            steps(f"t{number}", batch) for number in range(max(2, min(total // batch, 1000)))
        ]
        ours, raw = [], []
        for _ in range(options.rounds()):
            with ledger_url(engine, folder, options) as (url, secret):
                async with new_store(url, secret) as store:
                    ours.append(await append_in_turn(store, requests))
                raw.append(await raw_append(url, folder, requests, batch))
        lines.append((f"one at a time, {batch} events a request", ours, raw, float(batch)))
    return lines


async def by_appenders(engine: str, folder: Path, options: Options) -> list[Line]:
    """1 to 256 tenants at once, four events a request."""
    total = {"quick": 32, "modest": 4096, "full": 16_384}[options.size]
    lines: list[Line] = []
    for appenders in APPENDERS:
        requests = [steps(f"t{number}", EVENTS_EACH) for number in range(max(total, appenders))]
        if appenders == 1:
            requests = requests[: max(8, total // 8)]
        ours, raw, batches = [], [], []
        for _ in range(options.rounds()):
            with ledger_url(engine, folder, options) as (url, secret):
                async with new_store(url, secret) as store:
                    ours.append(await append_together(store, requests, appenders))
                    appender = store.appender
                    # The first event came alone, before the clock ran.
                    batches.append((appender.events - 1) / (appender.commits - 1))
                raw.append(await raw_append(url, folder, requests, max(1, round(batches[-1]))))
        mean = sum(batches) / len(batches)
        lines.append(
            (f"{appenders} tenants at once, {EVENTS_EACH} events a request", ours, raw, mean)
        )
    return lines


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on a history of whole lives."""

    events: int
    replayed: list[Reading]
    raw: list[Reading]
    verified: list[Reading]
    bytes_each: float
    facts: list[tuple[str, str]]


async def history(engine: str, folder: Path, options: Options) -> History:
    """A history of whole lives: replayed, verified, projected, loaded from its projection."""
    count = options.pick(quick=20, modest=6250, full=62_500)
    with ledger_url(engine, folder, options) as (url, secret):
        async with new_store(url, secret) as store:
            requests = [life(f"t{number}") for number in range(count)]
            await append_together(store, requests, SEED_BATCH)
            events = (await store.head()).seq
            bytes_each = bytes_on_disk(url, options) / events
            await raw_ledger.fill(url, requests)
            ours, raw, verified = [], [], []
            for _ in range(options.rounds()):
                began = time.perf_counter()
                fleet = await replay_fleet(store)
                ours.append(Reading(seconds=(time.perf_counter() - began) / events))
                assert len(fleet.tenants) == count + 1
                raw.append(await raw_ledger.replay(url))
                began = time.perf_counter()
                report = await verify_store(store, anchor=None, rebuild=False)
                verified.append(Reading(seconds=(time.perf_counter() - began) / events))
                assert report.events == events and report.bad_seq is None
            facts = await projections(store, url, secret, count)
    return History(
        events=events,
        replayed=ours,
        raw=raw,
        verified=verified,
        bytes_each=bytes_each,
        facts=facts,
    )


def bytes_on_disk(url: Url, options: Options) -> int:
    """All of the ledger: its file after a checkpoint, or its tables with their indexes."""
    if isinstance(url, SqliteUrl):
        with closing(sqlite3.connect(url.path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Path(url.path).stat().st_size
    server = Server.parse(options.server)
    ((size,),) = server.query(
        "SELECT SUM(FILE_SIZE) FROM information_schema.INNODB_SYS_TABLESPACES"
        f" WHERE NAME LIKE '{url.database}/%'"
    )
    return int(size)


async def projections(
    store: Store, url: Url, secret: SecretSource, count: int
) -> list[tuple[str, str]]:
    """Storing the folded state, and loading it again instead of replaying."""
    fleet = await load_fleet(store)
    began = time.perf_counter()
    assert await save_fleet(store, fleet)
    saved = time.perf_counter()
    loaded = await load_fleet(store)
    ended = time.perf_counter()
    assert len(loaded.tenants) == count + 1
    return [
        (f"store the projection of {count} tenants", f"{(saved - began) * 1000:.1f} ms"),
        ("load it", f"{(ended - saved) * 1000:.1f} ms"),
    ]


def event_store(folder: Path, options: Options) -> tuple[list[tuple[str, str]], list[str]]:
    """The `eventsourcing` package on SQLite, where it is installed."""
    found = any(VENV_PYTHON.parent.parent.glob("lib/python*/site-packages/eventsourcing"))
    if not options.peers:
        return [], ["not run (--no-peers)"]
    if not found:
        return [], [f"missing: eventsourcing (install: {SETUP})"]
    rows = []
    events = {"quick": 100, "modest": 2000, "full": 10_000}[options.size]
    for batch in (1, 10, 100):
        times = folder / f"eventsourcing-{batch}.txt"
        orders: Orders = {
            "targets": [],
            "path": str(folder / f"eventsourcing-{batch}.db"),
            "batch": batch,
            "events": min(events, 500 * batch),
            "times": str(times),
        }
        run_children("bench.peers.event_store", orders, python=str(VENV_PYTHON))
        appended, replayed, done = (float(part) for part in times.read_text().split())
        rows.append(
            (
                f"eventsourcing package, {batch} events a save",
                f"append {done / appended:,.0f}/s, replay {done / replayed:,.0f}/s",
            )
        )
    return rows, []


def line_table(engine: str, lines: list[Line]) -> Table:
    """Events a second."""
    return Table(
        title=f"Append, {engine}",
        columns=("how", "ours, events/s", "raw, events/s", "raw's batch", "ours / raw (low-high)"),
        rows=tuple(
            (
                what,
                f"{1 / median(ours):,.0f}",
                f"{1 / median(raw):,.0f}",
                f"{batch:.0f}",
                str(ratio(raw, ours)),
            )
            for what, ours, raw, batch in lines
        ),
    )


APPEND_TARGETS = {
    "sqlite": (0.7, 0.8, 0.8, 0.8),
    "mysql": (0.6, 0.9, 1.0, 1.0),
}
"""Of raw, by the tenants at once of APPENDERS."""
REPLAY_TARGETS = {"sqlite": 1.0, "mysql": 1.2}
VERIFY_TARGET = 400_000
BYTES_TARGET = 190


def append_rows(engine: str, lines: list[Line]) -> list[TargetRow]:
    """A row for each number of tenants at once."""
    rows = []
    for appenders, target, line in zip(APPENDERS, APPEND_TARGETS[engine], lines, strict=True):
        _, ours, raw, batch = line
        found = ratio(raw, ours)
        rows.append(
            TargetRow(
                key=f"append-{engine}-{appenders}",
                what=f"append, {appenders} tenants at once, {engine} ledger",
                target=f"≥ {target} x raw inserts at the batch reached",
                measured=str(found),
                met=found.median >= target,
                value=found.median,
                note=f"batches of {batch:.0f} events",
            )
        )
    return rows


def history_rows(engine: str, found: History) -> list[TargetRow]:
    """Replay, verify and the bytes of an event."""
    replay = ratio(found.raw, found.replayed)
    verified = 1 / median(found.verified)
    target = REPLAY_TARGETS[engine]
    note = "" if found.events >= 1_000_000 else f"{found.events:,} events"
    return [
        TargetRow(
            key=f"replay-{engine}",
            what=f"replay, {engine} ledger",
            target=f"≥ {target} x raw msgspec + fold",
            measured=str(replay),
            met=replay.median >= target,
            value=replay.median,
            note=note,
        ),
        TargetRow(
            key=f"verify-{engine}",
            what=f"verify, {engine} ledger",
            target=f"≥ {VERIFY_TARGET:,} events/s",
            measured=f"{verified:,.0f}",
            met=verified >= VERIFY_TARGET,
            value=verified,
            note=note,
        ),
        TargetRow(
            key=f"bytes-{engine}",
            what=f"bytes on disk an event, with indexes, {engine} ledger",
            target=f"≤ {BYTES_TARGET}",
            measured=f"{found.bytes_each:.0f}",
            met=found.bytes_each <= BYTES_TARGET,
            value=found.bytes_each,
            note=note,
        ),
    ]


def run(options: Options) -> Report:
    """Both databases, then the package."""
    tables: list[Table] = []
    targets: list[TargetRow] = []

    async def one(engine: str, folder: Path) -> None:
        batched = await by_batch(engine, folder, options)
        together = await by_appenders(engine, folder, options)
        found = await history(engine, folder, options)
        tables.append(line_table(engine, batched + together))
        row = (
            "replay",
            f"ours {1 / median(found.replayed):,.0f}/s, raw {1 / median(found.raw):,.0f}/s",
        )
        title = f"Replay of {found.events:,} events and projections, {engine}"
        columns = ("what", "measured")
        tables.append(Table(title=title, columns=columns, rows=(row, *found.facts)))
        targets.extend([*append_rows(engine, together), *history_rows(engine, found)])

    with work_folder(options) as folder:
        for engine in options.engines:
            why = no_server(options) if engine == "mysql" else None
            if why is not None:
                targets.append(
                    unmeasured("append-mysql-1", "append, mysql ledger", "≥ 0.6 x raw", why)
                )
                continue
            loop_run(lambda engine=engine: one(engine, folder))  # type: ignore[misc]
        if "sqlite" in options.engines:
            rows, notes = event_store(folder, options)
            title = "The `eventsourcing` package, SQLite"
            columns = ("what", "measured")
            tables.append(Table(title=title, columns=columns, rows=tuple(rows), notes=tuple(notes)))
    return Report(script="ledger", tables=tuple(tables), targets=tuple(targets))


if __name__ == "__main__":
    main("ledger", __doc__, run)
