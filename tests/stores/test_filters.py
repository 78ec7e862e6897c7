"""Which events a filter brings: every field, every store, held against a plain Python reading."""

from __future__ import annotations

import fnmatch
import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.api.verify import verify_store
from ledger.errors import UsageError
from ledger.events import (
    AnyEvent,
    Failed,
    LeaseRenewed,
    Recorded,
    RunFinished,
    StepApplied,
    Validated,
)
from ledger.stores.base import Append, Filter, Row
from ledger.stores.store import Store
from tests.conftest import MakeDatabase
from tests.servers import Server
from tests.stores.ledgers import (
    MEMORY,
    Place,
    new_event,
    read_all,
    server_place,
    sqlite_place,
)

NAMES = ("acme", "acme_2", "acmeX2", "a[c]me", "50%", "50_", "back\\slash", "pi|pe", "ACME", "ü*?")
BODIES: tuple[AnyEvent, ...] = (
    LeaseRenewed(lease_seconds=1),
    Validated(passed=True),
    RunFinished(outcomes={"applied": 1}, duration_us=1),
)


@pytest.fixture(
    params=["memory", "sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    """Each kind of ledger in turn, empty."""
    if request.param == "memory":
        return Place(url=MEMORY)
    if request.param == "sqlite":
        return sqlite_place(tmp_path)
    server: Server = request.getfixturevalue(request.param)
    return server_place(server, make_database(server))


@pytest_asyncio.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    """60 events: all names as tenants and actors, three types, four runs, one commit each ten."""
    async with place.open() as opened:
        for index in range(60):
            name = NAMES[index % len(NAMES)]
            event = new_event(
                BODIES[index % 3],
                run=f"run-{index % 4}",
                actor=f"{NAMES[index % 7]}@host",
            )
            kind = "tenant" if index % 5 else "run"
            await opened.append(Append(stream=f"{kind}/{name}", events=(event,)))
        yield opened


def matches(pattern: str | None, value: str | None) -> bool:
    """`*` and `?` are wildcards, everything else is itself, case counts."""
    if pattern is None:
        return True
    literal = re.sub(r"\[", "[[]", pattern)
    return value is not None and re.fullmatch(fnmatch.translate(literal), value) is not None


def speaks_of(event: Recorded, migration: str) -> bool:
    """Whether an event names the migration."""
    body = event.document()
    version = body.get("version")
    return migration in (version, f"{body.get('set')}/{version}")


def expected(events: list[Recorded], where: Filter) -> list[Recorded]:
    """What `where` means."""
    found = [
        event
        for event in events
        if event.seq > where.after_seq
        and (where.until_seq is None or event.seq <= where.until_seq)
        and (where.stream is None or event.stream == where.stream)
        and matches(where.tenant, event.tenant)
        and matches(where.run, event.run)
        and matches(where.actor, event.actor)
        and (not where.types or event.type in where.types)
        and (where.migration is None or speaks_of(event, where.migration))
        and (where.since is None or event.at >= where.since)
        and (where.until is None or event.at < where.until)
    ]
    return found if where.last is None else found[max(len(found) - where.last, 0) :]


PATTERNS = st.one_of(
    st.none(),
    st.sampled_from(
        (*NAMES, "acme*", "acme?2", "*", "50?", "*[c]*", "*\\*", "*|*", "%", "ü*", "??")
    ),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    after_seq=st.integers(0, 65),
    until_seq=st.none() | st.integers(0, 65),
    stream=st.none() | st.sampled_from([f"tenant/{name}" for name in (*NAMES, "none")]),
    tenant=PATTERNS,
    types=st.lists(st.sampled_from(["lease_renewed", "validated", "reset"]), max_size=2).map(tuple),
    run=st.none() | st.sampled_from(["run-1", "run-*", "run-?", "ü", "*2"]),
    actor=st.none() | st.sampled_from(["acme@host", "acme*", "*@host", "a[c]me*", "%@host"]),
    last=st.none() | st.integers(0, 70),
    batch=st.integers(1, 70),
    times=st.tuples(st.none() | st.integers(0, 59), st.none() | st.integers(0, 59)),
)
@pytest.mark.parametrize("place", ["memory"], indirect=True)
async def test_any_filter(
    store: Store,
    after_seq: int,
    until_seq: int | None,
    stream: str | None,
    tenant: str | None,
    types: tuple[str, ...],
    run: str | None,
    actor: str | None,
    last: int | None,
    batch: int,
    times: tuple[int | None, int | None],
) -> None:
    """Whatever is combined, and in lists of whatever size: exactly the matching events, in seq order."""
    events = await read_all(store)
    since, until = (None if index is None else events[index].at for index in times)
    where = Filter(
        after_seq=after_seq,
        until_seq=until_seq,
        stream=stream,
        tenant=tenant,
        types=types,
        run=run,
        actor=actor,
        last=last,
        since=since,
        until=until,
    )
    assert await read_all(store, where, batch=batch) == expected(events, where)
    async for some in store.read(where, batch=batch):
        assert 0 < len(some) <= batch


async def test_each_field_on_each_store(store: Store) -> None:
    """The same on all databases, wildcards and their escapes above all."""
    events = await read_all(store)
    tenants = (
        *NAMES,
        "acme*",
        "acme?2",
        "*",
        "50?",
        "*[c]*",
        "*\\*",
        "*|*",
        "*%*",
        "ü*",
        "A*",
        "?",
    )
    filters = [
        *(Filter(tenant=tenant) for tenant in tenants),
        *(Filter(stream=f"tenant/{name}") for name in NAMES),
        *(Filter(stream="tenant/acme", last=last) for last in (0, 1, 3, 100)),
        *(Filter(last=last) for last in (0, 1, 7, 60, 1000)),
        *(Filter(run=run) for run in ("run-1", "run-?", "ü", "*ü*", "Run-1")),
        *(Filter(actor=actor) for actor in ("acme@host", "acme*", "*\\*")),
        Filter(types=("validated", "run_finished"), after_seq=10, until_seq=40),
        Filter(types=("validated",), last=5, tenant="a*"),
        Filter(since=events[20].at, until=events[50].at),
        Filter(until_seq=0),
    ]
    for where in filters:
        for batch in (3, 5000):
            assert await read_all(store, where, batch=batch) == expected(events, where), where


MANY: tuple[Filter, ...] = (
    *(Filter(run=run) for run in ("run-1", "run-*", "run-9")),
    *(Filter(run="run-1", last=last) for last in (1, 700, 5000)),
    Filter(run="run-?", actor="ana@2", last=3),
    Filter(types=("lease_renewed",), last=2),
    Filter(types=("lease_renewed", "failed"), after_seq=900, until_seq=3100),
    *(Filter(migration=one) for one in ("s/1", "2", "s/2", "x/2", "2.0")),
    *(Filter(migration=one, last=4) for one in ("s/1", "2")),
    Filter(migration="1", types=("failed",)),
    Filter(actor="ana@*", last=2000),
)


async def fill_blocks(store: Store) -> None:
    """Several blocks of events, of two migrations and a failure in each."""
    for number in range(10):
        steps: list[AnyEvent] = [
            StepApplied(
                set="s",
                version=str(1 + number // 5),
                direction="up",
                step=step,
                of=400,
                name='"version":"2"',
                statement="a" * 64,
            )
            for step in range(400)
        ]
        failed = Failed(
            command="migrate", error="x", message=',"set":"s","version":"2"', set="s", version="1"
        )
        who = {"run": f"run-{number // 3}", "actor": f"ana@{number // 4}"}
        events = tuple(new_event(event, **who) for event in (*steps, failed))
        await store.append(Append(stream=f"tenant/t{number}", events=events))
        await store.append(Append(stream=f"run/{number}", events=(new_event(run="run-x"),)))


async def test_blocks_hide_no_event(place: Place) -> None:
    """A filter that reads some blocks of many brings what a look at every event would."""
    async with place.open() as opened:
        await fill_blocks(opened)
        events = await read_all(opened)
        assert len(events) == 4020
        for where in MANY:
            assert await read_all(opened, where, batch=300) == expected(events, where), where
        report = await verify_store(opened, anchor=None, rebuild=False)
        assert report.bad_seq is None and not report.problems


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM event_blocks WHERE block = 2 AND kind = 5",
        "INSERT INTO event_blocks VALUES (7, 1, 1)",
        "UPDATE event_times SET last_at = 7 WHERE block = 0",
        "DELETE FROM event_times",
    ],
)
async def test_wrong_blocks_are_found_and_written_anew(tmp_path: Path, change: str) -> None:
    """What blocks hold is a cache: `verify` compares it with the events, and replaces it."""
    place = sqlite_place(tmp_path)
    async with place.open() as store:
        await fill_blocks(store)
        place.execute(change)
        report = await verify_store(store, anchor=None, rebuild=False)
        assert "block" in report.problems[0]
        assert (await verify_store(store, anchor=None, rebuild=True)).sound
        assert (await verify_store(store, anchor=None, rebuild=False)).sound


@pytest.mark.parametrize("where", [one for one in MANY if one.after_seq == 0])
async def test_no_filter_walks_the_whole_ledger(tmp_path: Path, where: Filter) -> None:
    """SQLite says of each query how it reads: `events` by an index or a range, never all of it."""
    place = sqlite_place(tmp_path)
    async with place.open() as store:
        await store.append(Append(stream="tenant/a", events=(new_event(),)))
        asked: list[tuple[str, tuple[object, ...]]] = []
        fetch = store._database.fetch

        async def listen(sql: str, values: Sequence[object]) -> list[Row]:
            asked.append((sql, tuple(values)))
            return await fetch(sql, values)

        store._database.fetch = listen  # type: ignore[method-assign]
        await read_all(store, where)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
            for sql, values in asked:
                for *_, plan in db.execute(f"EXPLAIN QUERY PLAN {sql}", values):
                    assert plan != "SCAN events", (sql, plan)
        assert len(asked) > 1


async def test_times_in_any_spelling(store: Store) -> None:
    """A time without fraction, without zone (it is UTC) or with another zone means that moment."""
    assert len(await read_all(store, Filter(since="2020-01-01T00:00:00Z"))) == 60
    assert len(await read_all(store, Filter(since="2020-01-01"))) == 60
    assert len(await read_all(store, Filter(until="2020-01-01T00:00:00+02:00"))) == 0
    second = (await read_all(store))[0].at[:19]
    assert await read_all(store, Filter(until=f"{second}Z")) == []
    assert len(await read_all(store, Filter(since=f"{second}Z"))) == 60
    with pytest.raises(UsageError, match="'yesterday' is not a time"):
        await read_all(store, Filter(since="yesterday"))


async def test_events_that_arrive_while_reading_come_along(store: Store) -> None:
    """A reader that has not reached the end yet sees what was appended meanwhile, once; `last` does not."""
    seqs: list[int] = []
    async for events in store.read(batch=20):
        seqs += [event.seq for event in events]
        if len(seqs) == 20:
            await store.append(Append(stream="tenant/new", events=(new_event(),)))
    assert seqs == list(range(1, 62))
    seqs = []
    async for events in store.read(Filter(last=30), batch=10):
        seqs += [event.seq for event in events]
        await store.append(Append(stream="tenant/new", events=(new_event(),)))
    assert seqs == list(range(32, 62))
