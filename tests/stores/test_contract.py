"""What `Store` promises, held against every store."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from ledger.errors import (
    ConflictError,
    StoreError,
    StoreUnavailableError,
)
from ledger.events import GENESIS_HASH, Failed, LeaseRenewed, NewEvent, Recorded, StepApplied
from ledger.stores.base import Append, Head, Script, StoredProjection
from ledger.stores.chain import prepare
from ledger.stores.store import Store
from tests.conftest import MakeDatabase
from tests.servers import Server
from tests.stores.ledgers import (
    MEMORY,
    Place,
    audit,
    new_event,
    read_all,
    request,
    server_place,
    sqlite_place,
)

LASTING = ["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]


@pytest.fixture(params=["memory", *LASTING])
def place(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    """Each kind of ledger in turn, empty."""
    return (
        Place(url=MEMORY) if request.param == "memory" else _made(request, tmp_path, make_database)
    )


@pytest.fixture(params=LASTING)
def lasting(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    """Each kind that can be opened twice."""
    return _made(request, tmp_path, make_database)


def _made(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    if request.param == "sqlite":
        return sqlite_place(tmp_path)
    server: Server = request.getfixturevalue(request.param)
    return server_place(server, make_database(server))


async def append_all(store: Store, requests: Sequence[Append]) -> list[object]:
    """Append concurrently; what each caller got, or the error it was given."""
    results: list[object] = [None] * len(requests)

    async def one(index: int, wanted: Append) -> None:
        try:
            results[index] = await store.append(wanted)
        except StoreError as error:
            results[index] = error

    async with anyio.create_task_group() as group:
        for index, wanted in enumerate(requests):
            group.start_soon(one, index, wanted)
    return results


async def test_an_empty_ledger(place: Place) -> None:
    """A new ledger has an id, no events, and the genesis hash as its head."""
    async with place.open() as store:
        assert len(store.ledger_id) == 32
        assert await store.head() == Head(seq=0, hash=GENESIS_HASH)
        assert await read_all(store) == []
        assert await audit(store) == 0


async def test_what_is_appended_is_what_is_read(place: Place) -> None:
    """Events come back byte for byte, with seq, version and hash, quotes and emoji included."""
    message = 'it\'s "100%" \\ broken: %s {x} \u2028 \U0001f4a5 \x01 é'
    events = (
        new_event(Failed(command="migrate", error="step_failed", message=message)),
        new_event(actor="名前@host"),
        new_event(actor="o'\x1f\\"),
    )
    async with place.open() as store:
        recorded = await store.append(Append(stream="tenant/ümlaut '%s", events=events, expected=0))
        assert [(event.seq, event.version) for event in recorded] == [(1, 1), (2, 2), (3, 3)]
        assert [event.tenant for event in recorded] == ["ümlaut '%s"] * 3
        assert [event.data for event in recorded] == [new.event for new in events]
        assert await read_all(store) == list(recorded)
        assert await store.head() == Head(seq=3, hash=recorded[2].hash)
        assert await audit(store) == 3


async def test_a_stale_expectation_is_refused_alone(place: Place) -> None:
    """A wrong `expected` gets ConflictError with both versions; the rest of its batch commits."""
    async with place.open() as store:
        await store.append(request("tenant/a", 3, expected=0))
        results = await append_all(
            store,
            [
                request("tenant/b", expected=0),
                request("tenant/a", expected=1),
                request("tenant/a", expected=3),
                request("tenant/a", expected=3),
                request("tenant/a"),
            ],
        )
        conflicts = [result for result in results if isinstance(result, ConflictError)]
        assert [(error.expected, error.found) for error in conflicts] == [(1, 3), (3, 4)]
        assert len(await read_all(store)) == 6
        assert await audit(store) == 6


async def test_concurrent_appends_are_gapless_and_grouped(place: Place) -> None:
    """50 appenders at once: no gap in seq or version, callers get their own, and they share commits."""
    async with place.open() as store:
        results = await append_all(
            store, [request(f"tenant/{index % 7}", 1 + index % 3) for index in range(50)]
        )
        told = [event for result in results if isinstance(result, tuple) for event in result]
        events = await read_all(store)
        assert sorted(told, key=lambda event: event.seq) == events
        assert [event.seq for event in events] == list(range(1, len(told) + 1))
        assert await audit(store) == len(told)
        # A batch has one time stamp.
        assert len({event.at for event in events}) < 10


async def test_equal_appends_are_events_of_their_own(place: Place) -> None:
    """What was appended before may be appended again, and is an event more each time."""
    async with place.open() as store:
        again = request("tenant/a", 2)
        results = await append_all(store, [again, again, request("tenant/b"), again])
        assert sorted(event.seq for told in results for event in told) == list(range(1, 8))  # type: ignore[attr-defined]
        assert await audit(store) == 7


def applied(step: int, statement: str, duration_us: int) -> StepApplied:
    """A step of a migration, whose statement may differ by tenant."""
    return StepApplied(
        set="app",
        version="1",
        direction="up",
        step=step,
        of=2,
        name=f'Step "{step}", "statement": ü',
        statement=statement,
        duration_us=duration_us,
    )


async def test_what_events_share_is_kept_once(lasting: Place) -> None:
    """A second tenant's steps add no part, one whose statements are its own adds one a step, and the
    next such tenant none; all of them read back as they were appended."""
    counts: list[int] = []
    told: list[Recorded] = []
    async with lasting.open() as store:
        for number, statement in enumerate(("a", "a", "b", "c")):
            events = tuple(new_event(applied(step, statement * 64, number)) for step in (1, 2))
            told += await store.append(Append(stream=f"tenant/{number}", events=events))
            ((count,),) = lasting.execute("SELECT count(*) FROM event_parts")
            counts.append(int(count))
        assert counts == [2, 2, 4, 4]
        assert await read_all(store) == told
    async with lasting.open() as store:
        events = (new_event(applied(1, "d" * 64, 0)), new_event(applied(2, "a" * 64, 7)))
        told += await store.append(Append(stream="tenant/4", events=events))
        assert await read_all(store) == told
        assert [row.data for row in told[-2:]] == [new.event for new in events]
        ((count,),) = lasting.execute("SELECT count(*) FROM event_parts")
        assert count == 4
        assert await audit(store) == 10


async def test_scripts_are_kept_once_with_their_append(place: Place) -> None:
    """A text is stored with its append, the first text of a key stays, and a refused append brings none."""
    first = Script(sha256="a" * 64, content="SELECT 'é %s \\' ;\r\n")
    other = Script(sha256="a" * 64, content="SELECT 2")
    lost = Script(sha256="b" * 64, content="SELECT 3")

    def bring(*scripts: Script, expected: int | None = None) -> Append:
        return Append(stream="tenant/a", events=(new_event(),), expected=expected, scripts=scripts)

    async with place.open() as store:
        await append_all(store, [bring(first), bring(first), bring(other)])
        with pytest.raises(ConflictError):
            await store.append(bring(lost, expected=7))
        assert await store.script("a" * 64) == first.content
        assert await store.script("b" * 64) is None
        await store.append(bring(lost, other))
        assert await store.script("b" * 64) == lost.content
        await store.append(
            Append(stream="tenant/a", events=(), scripts=(Script(sha256="c", content="x"),))
        )
        assert await store.script("c") == "x"
        every = [one async for some in store.scripts() for one in some]
        assert every == sorted(every) and dict(every)["c"] == b"x" and len(every) == 3
        assert await audit(store) == 4


async def test_a_cancelled_caller_disturbs_nobody(place: Place) -> None:
    """Callers cancelled while leading, taken, or waiting: all others are told, and the chain holds."""
    async with place.open() as store:
        told: list[tuple[Recorded, ...]] = []

        async def one(index: int) -> None:
            told.append(await store.append(request(f"tenant/{index}")))

        async def impatient(index: int, turns: int) -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(one, index)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()

        async with anyio.create_task_group() as group:
            for index in range(0, 60, 2):
                group.start_soon(impatient, index, index % 12)
                group.start_soon(one, index + 1)
        recorded = {event.stream for event in await read_all(store)}
        assert {f"tenant/{index}" for index in range(1, 60, 2)} <= recorded
        assert {event.stream for events in told for event in events} <= recorded
        assert await audit(store) == len(recorded)
        assert await store.append(request("tenant/after"))


async def test_what_does_not_fit_is_refused_by_name(place: Place) -> None:
    """A field that one of the databases would cut, pad or fold is refused by every store."""
    bad: list[tuple[str, NewEvent]] = [
        ("", new_event()),
        ("tenant/a ", new_event()),
        ("x" * 513, new_event()),
        ("tenant/a", new_event(run="ü")),
        ("tenant/a", new_event(actor="a" * 256)),
    ]
    async with place.open() as store:
        for stream, event in bad:
            with pytest.raises(StoreError, match="must be 1 to"):
                await store.append(Append(stream=stream, events=(event,)))
        unreadable = new_event(LeaseRenewed(lease_seconds="soon"))  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="'lease_renewed' cannot be recorded"):
            await store.append(Append(stream="tenant/a", events=(unreadable,)))
        with pytest.raises(StoreError, match="nothing to append"):
            await store.append(Append(stream="tenant/a", events=()))
        assert await audit(store) == 0


async def test_streams_differ_by_case_and_accent(place: Place) -> None:
    """`A` and `a`, `é` and `e` are different streams on every database."""
    async with place.open() as store:
        for stream in ("tenant/A", "tenant/a", "tenant/é", "tenant/e"):
            await store.append(request(stream, expected=0))
        assert await audit(store) == 4


async def test_events_are_stamped_by_the_stores_clock(place: Place) -> None:
    """`at` lies between two readings of `now`, and is spelled with microseconds and Z."""
    async with place.open() as store:
        before = await store.now()
        (event,) = await store.append(request("tenant/a"))
        after = await store.now()
        assert before.tzinfo is UTC
        assert before <= datetime.fromisoformat(event.at) <= after
        assert len(event.at) == len("2026-11-21T23:10:04.120311Z")


async def test_a_batch_larger_than_the_limit_is_split(place: Place) -> None:
    """Thousands of waiting events, and a very large one, all arrive, in several commits."""
    large = new_event(Failed(command="migrate", error="x", message='"\\%é' * 400_000))
    async with place.open() as store:
        requests = [request(f"tenant/{index}", 50) for index in range(60)]
        results = await append_all(
            store, [*requests, Append(stream="tenant/large", events=(large,))]
        )
        assert not [result for result in results if isinstance(result, StoreError)]
        assert await audit(store) == 3001
        (found,) = [event for event in await read_all(store) if event.stream == "tenant/large"]
        assert found.data == large.event


async def test_projections_move_by_compare_and_set(place: Place) -> None:
    """A projection moves only from where it stands; its rows are upserted; -1 replaces them all."""

    def row(key: str, state: bytes) -> StoredProjection:
        return StoredProjection(key=key, state=state)

    binary = bytes(range(256))
    async with place.open() as store:
        assert await store.load_projection("fleet") == (0, [])
        assert await store.save_projection("fleet", base_seq=0, seq=5, changed=[])
        assert await store.load_projection("fleet") == (5, [])
        assert not await store.save_projection("fleet", base_seq=0, seq=6, changed=[row("a", b"1")])
        assert await store.load_projection("fleet") == (5, [])
        changed = [row("a", binary), row("b", b""), row("", b"\\'%s")]
        assert await store.save_projection("fleet", base_seq=5, seq=7, changed=changed)
        assert await store.save_projection("fleet", base_seq=7, seq=9, changed=[row("b", b"2")])
        assert await store.save_projection("other", base_seq=0, seq=1, changed=[row("a", b"x")])
        seq, rows = await store.load_projection("fleet")
        assert seq == 9
        assert {stored.key: stored.state for stored in rows} == {
            "a": binary,
            "b": b"2",
            "": b"\\'%s",
        }
        assert await store.save_projection("fleet", base_seq=-1, seq=3, changed=[row("c", b"3")])
        assert await store.load_projection("fleet") == (3, [row("c", b"3")])
        assert await store.load_projection("other") == (1, [row("a", b"x")])


async def test_only_one_of_two_writers_moves_a_projection(place: Place) -> None:
    """Of writers that move a projection from the same seq at the same time, one succeeds."""
    async with place.open() as store:
        won: list[bool] = []

        async def move(state: bytes) -> None:
            row = StoredProjection(key="k", state=state)
            won.append(await store.save_projection("p", base_seq=0, seq=1, changed=[row]))

        async with anyio.create_task_group() as group:
            for index in range(8):
                group.start_soon(move, b"%d" % index)
        assert sorted(won) == [False] * 7 + [True]


async def test_a_closed_store_says_so(place: Place) -> None:
    """Closing twice is fine; what comes after is refused with a plain error."""
    async with place.open() as store:
        await store.append(request("tenant/a"))
        await store.aclose()
        await store.aclose()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await store.append(request("tenant/a"))
        with pytest.raises(StoreUnavailableError, match="closed"):
            await store.head()


async def test_closing_finishes_what_is_queued(place: Place) -> None:
    """Appends that wait when the store is closed are committed and told."""
    async with place.open() as store:
        told: list[int] = []

        async def one() -> None:
            told.append((await store.append(request("tenant/a")))[0].seq)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
            await store.aclose()
        assert sorted(told) == list(range(1, 21))


async def test_what_another_process_prepared_is_appended_as_it_is(place: Place) -> None:
    """A prepared request crosses a process boundary, and is one append with what was not prepared."""
    event = new_event(actor="名前@host")
    one = Append(stream="tenant/ü", events=(event, new_event()), expected=0)
    sent = pickle.loads(pickle.dumps(prepare(one)))
    async with place.open() as store:
        recorded = await store.append(sent)
        assert [row.data for row in recorded] == [new.event for new in one.events]
        with pytest.raises(ConflictError):
            await store.append(prepare(request("tenant/ü", expected=0)))
        assert await read_all(store) == list(recorded)
        assert await audit(store) == 2


async def test_two_openings_of_one_ledger_never_build_on_a_wrong_end(lasting: Place) -> None:
    """Each remembers where it left the ledger, and the other moves on: no gap, no conflict, no loss."""
    told: list[Recorded] = []

    async def tenant(store: Store, name: str) -> None:
        for turn in range(12):
            told.extend(await store.append(request(name, 5, expected=5 * turn)))

    async with lasting.open() as one, lasting.open(create=False) as other:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(tenant, one, f"tenant/one-{number}")
                group.start_soon(tenant, other, f"tenant/other-{number}")
        events = await read_all(one)
        assert sorted(told, key=lambda event: event.seq) == events
        assert len(events) == await audit(other) == 80 * 12 * 5


async def test_a_conflict_among_many_leaves_what_was_chained_after_it_whole(place: Place) -> None:
    """Some of many tenants come with a stale expectation: they alone are told so."""
    conflicts: list[ConflictError] = []

    async def tenant(store: Store, number: int) -> None:
        version = 0
        for turn in range(8):
            version += len(await store.append(request(f"tenant/{number}", 5, expected=version)))
            if (number + turn) % 9 == 0:
                try:
                    await store.append(request(f"tenant/{number}", expected=version + 3))
                except ConflictError as conflict:
                    conflicts.append(conflict)

    async with place.open() as store:
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(tenant, store, number)
        assert await audit(store) == 60 * 8 * 5
        assert len(conflicts) == sum((n + t) % 9 == 0 for n in range(60) for t in range(8))
        assert all(error.expected == error.found + 3 for error in conflicts)


async def test_a_version_that_only_a_request_claims_is_proven(lasting: Place) -> None:
    """A ledger opened again knows no stream's version: a wrong expectation is still a conflict."""
    async with lasting.open() as store:
        await store.append(request("tenant/a", 3))
    async with lasting.open(create=False) as store:
        await store.append(request("tenant/b"))
        for wrong in (2, 4, 0):
            with pytest.raises(ConflictError):
                await store.append(request("tenant/a", expected=wrong))
            await store.append(request("tenant/b"))
        assert (await store.append(request("tenant/a", expected=3)))[0].version == 4
        assert await audit(store) == 8


async def test_a_batch_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    """The database refuses some batches: every event that was reported is there, and there is no gap."""
    place = sqlite_place(tmp_path)
    told: list[Recorded] = []
    refused: list[StoreError] = []

    async def tenant(store: Store, number: int) -> None:
        for turn in range(10):
            actor = "refused" if number == 7 and turn in (2, 5) else "welcome"
            events = tuple(new_event(actor=actor) for _ in range(5))
            try:
                told.extend(await store.append(Append(stream=f"tenant/{number}", events=events)))
            except StoreError as error:
                refused.append(error)

    async with place.open() as store:
        await store.append(request("tenant/first"))
        place.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON event_names WHEN NEW.name = 'refused' "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(tenant, store, number)
        events = await read_all(store)
        assert sorted(told, key=lambda event: event.seq) == events[1:]
        assert await audit(store) == len(events)
        assert refused
        assert told
