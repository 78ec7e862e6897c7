"""What a ledger does when others reach into its database: a second store, a newer version, a hand."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import pymysql
import pytest

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreUnavailableError
from ledger.events import append_hash
from ledger.stores.base import Append, Script
from ledger.stores.store import Store
from tests.conftest import MakeDatabase
from tests.servers import Server
from tests.stores.ledgers import (
    Place,
    audit,
    new_event,
    read_all,
    request,
    server_place,
    sqlite_place,
)


@pytest.fixture(params=["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def place(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    """Each kind of ledger that others can reach, empty."""
    if request.param == "sqlite":
        return sqlite_place(tmp_path)
    server: Server = request.getfixturevalue(request.param)
    return server_place(server, make_database(server))


async def fill(place: Place, count: int = 6) -> None:
    """A ledger of `count` events on two streams, with one script."""
    async with place.open() as store:
        for index in range(count):
            script = Script(sha256="a" * 64, content="SELECT 1")
            events = (new_event(),)
            await store.append(
                Append(stream=f"tenant/{index % 2}", events=events, scripts=(script,))
            )


async def broken_at(place: Place) -> int:
    """The seq at which the audit stops."""
    async with place.open(create=False) as store:
        with pytest.raises(ChainBrokenError) as caught:
            await audit(store)
    return caught.value.seq


def drop_triggers(place: Place) -> None:
    """What somebody does first who wants to change history."""
    place.execute(
        *(
            f"DROP TRIGGER {table}_refuse_{action}"
            for table in ("events", "event_names", "event_parts", "scripts")
            for action in ("update", "delete")
        )
    )


async def test_two_stores_on_one_ledger_take_turns(place: Place) -> None:
    """Two instances that append at the same time make one gapless chain, and see each other's events."""
    async with place.open() as first, place.open() as second:
        assert first.ledger_id == second.ledger_id

        async def many(store: Store, name: str) -> None:
            for _ in range(20):
                await store.append(request(f"tenant/{name}"))
                await store.append(request("tenant/shared"))

        async with anyio.create_task_group() as group:
            group.start_soon(many, first, "one")
            group.start_soon(many, second, "two")
        assert await audit(first) == 80
        assert await read_all(first) == await read_all(second)


async def test_a_ledger_is_found_again(place: Place) -> None:
    """What was appended is there after reopening, with or without `create`, under the same id."""
    async with place.open() as store:
        ledger_id = store.ledger_id
        told = await store.append(request("tenant/a", 3))
    for create in (True, False):
        async with place.open(create=create) as store:
            assert store.ledger_id == ledger_id
            assert await read_all(store) == list(told)


async def test_a_missing_ledger_names_what_makes_one(place: Place) -> None:
    """Without `create`, a ledger that is not there is an error that says how to make one."""
    with pytest.raises(StoreUnavailableError) as caught:
        async with place.open(create=False):
            pass
    assert "there is no ledger" in caught.value.message
    assert "ledger migrate" in caught.value.hint


async def test_many_may_make_the_ledger_at_once(place: Place) -> None:
    """Stores that all find no ledger make one, together."""
    ids: list[str] = []

    async def make() -> None:
        async with place.open() as store:
            ids.append(store.ledger_id)
            await store.append(request("tenant/a"))

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(make)
    assert len(set(ids)) == 1
    async with place.open(create=False) as store:
        assert await audit(store) == 6


@pytest.mark.parametrize("table", ["events", "event_names", "event_parts", "scripts"])
@pytest.mark.parametrize(
    ("action", "statement"),
    [
        ("UPDATE", "UPDATE {table} SET {column} = 'x'"),
        ("DELETE", "DELETE FROM {table}"),
    ],
)
async def test_update_and_delete_are_refused(
    place: Place, table: str, action: str, statement: str
) -> None:
    """The database itself refuses to change or delete events and scripts, and says why."""
    await fill(place)
    column = {"events": "body", "scripts": "content", "event_names": "name"}.get(table, "text")
    with pytest.raises(
        (sqlite3.IntegrityError, pymysql.err.OperationalError),
        match=f"append-only: {action} on {table} is refused",
    ):
        place.execute(statement.format(table=table, column=column))
    async with place.open() as store:
        assert await audit(store) == 6
        assert await store.script("a" * 64) == "SELECT 1"


async def test_replace_cannot_rewrite(place: Place) -> None:
    """REPLACE, which deletes and inserts, does not get round that."""
    await fill(place)
    for replacement in (
        "REPLACE INTO events SELECT * FROM events WHERE seq = 3",
        "REPLACE INTO event_names SELECT * FROM event_names WHERE id = 1",
        "REPLACE INTO event_names SELECT kind, 99, name, seq FROM event_names WHERE id = 1",
        "REPLACE INTO event_parts SELECT * FROM event_parts WHERE id = 1",
    ):
        with pytest.raises(
            (sqlite3.IntegrityError, pymysql.err.OperationalError), match="append-only"
        ):
            place.execute(replacement)
    try:
        place.execute(f"REPLACE INTO scripts VALUES ('{'a' * 64}', 'sha256', 'SELECT 2')")
    except pymysql.err.OperationalError as error:
        assert "append-only" in str(error)
    async with place.open() as store:
        assert await store.script("a" * 64) == "SELECT 1"
        assert await audit(store) == 6


@pytest.mark.parametrize(
    "change",
    [
        "body = '{\"lease_seconds\":31}'",
        "actor = 2",
        "stream = 3",
        "at = at + 1",
        "part = 0",
        "hash = NULL",
    ],
)
async def test_an_edited_event_is_located(place: Place, change: str) -> None:
    """An event changed by hand, triggers dropped, is named by its seq."""
    await fill(place)
    drop_triggers(place)
    place.execute(f"UPDATE events SET {change} WHERE seq = 4")
    assert await broken_at(place) == 4


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE event_names SET name = 'tenant/other' WHERE name = 'tenant/1'", 2),
        ("UPDATE event_names SET name = 'mallory' WHERE kind = 3", 1),
        ("UPDATE event_names SET seq = 3 WHERE name = 'tenant/1'", 2),
        ("UPDATE event_parts SET text = ',\"lease_seconds\":31'", 1),
        ("INSERT INTO event_names VALUES (3, 2, 'mallory', 4)", 4),
        ("INSERT INTO event_parts VALUES (2, 1, 'x', 9)", 9),
        ("DELETE FROM event_names WHERE name = 'tenant/1'", 2),
    ],
)
async def test_edited_names_and_parts_are_located(place: Place, change: str, seq: int) -> None:
    """What events refer to is chained with the append that brought it."""
    await fill(place)
    drop_triggers(place)
    place.execute(change)
    assert await broken_at(place) == seq


async def test_an_event_edited_with_its_hash_is_located(place: Place) -> None:
    """Somebody who recomputes the hash breaks the link of the next event instead."""
    await fill(place)
    async with place.open() as store:
        pages = [page async for page in store.walk()]
    rows = pages[0].rows
    row = (*rows[3][:4], 7, *rows[3][5:9])
    forged = append_hash(rows[2][9], [], [], [row]).hex()
    drop_triggers(place)
    place.execute(f"UPDATE events SET at = 7, hash = X'{forged}' WHERE seq = 4")
    assert await broken_at(place) == 5


@pytest.mark.parametrize("seq", [1, 3, 6])
async def test_a_deleted_event_is_located(place: Place, seq: int) -> None:
    """A deleted event is named; the last one too, since the head row remembers it."""
    await fill(place)
    drop_triggers(place)
    place.execute(f"DELETE FROM events WHERE seq = {seq}")
    assert await broken_at(place) == seq


async def test_an_edited_head_is_noticed(place: Place) -> None:
    """A head row set back: the audit names the first event beyond it, and appends refuse to overwrite."""
    await fill(place)
    place.execute("UPDATE head SET seq = 3")
    assert await broken_at(place) == 4
    async with place.open() as store:
        with pytest.raises(StoreUnavailableError) as caught:
            await store.append(request("tenant/a"))
        assert "ledger verify" in caught.value.hint
    place.execute("DELETE FROM head")
    async with place.open() as store:
        with pytest.raises(ChainBrokenError, match="head row is missing"):
            await store.head()
        with pytest.raises(ChainBrokenError, match="head row is missing"):
            await store.append(request("tenant/a"))


async def test_an_event_from_a_newer_version_is_named(place: Place) -> None:
    """An event type that this version does not know can be listed; decoding raises NewerLedgerError."""
    await fill(place)
    drop_triggers(place)
    place.execute("UPDATE event_names SET name = 'quantum_leapt' WHERE kind = 4")
    async with place.open() as store:
        events = await read_all(store)
        assert events[1].type == "quantum_leapt"
        with pytest.raises(NewerLedgerError, match="quantum_leapt"):
            _ = events[1].data


async def test_a_newer_ledger_is_read_only(place: Place) -> None:
    """A newer schema number: events can be read, writes raise NewerLedgerError and add nothing.

    A store that was open before notices it too.
    """
    async with place.open() as opened:
        await opened.append(request("tenant/a"))
        place.execute("UPDATE meta SET value = '999' WHERE value = '2'")
        with pytest.raises(NewerLedgerError, match="schema 999"):
            await opened.append(request("tenant/a"))
    async with place.open(create=False) as store:
        with pytest.raises(NewerLedgerError, match="schema 999"):
            await store.append(request("tenant/a"))
        for base_seq in (0, -1):
            with pytest.raises(NewerLedgerError, match="schema 999"):
                await store.save_projection("p", base_seq=base_seq, seq=1, changed=())
        assert await store.load_projection("p") == (0, [])
        assert await audit(store) == 1


async def test_a_failed_batch_tells_all_its_callers(place: Place) -> None:
    """When a commit fails, each caller gets the reason, as an exception of its own, and the store goes on."""
    await fill(place)
    async with place.open() as store:
        place.execute("UPDATE head SET seq = 3")
        told: list[StoreUnavailableError] = []

        async def one(index: int) -> None:
            with pytest.raises(StoreUnavailableError, match=r"cannot be used|disagree") as caught:
                await store.append(request(f"tenant/{index}"))
            told.append(caught.value)

        async with anyio.create_task_group() as group:
            for index in range(8):
                group.start_soon(one, index)
        assert len({id(error) for error in told}) == 8
        place.execute("UPDATE head SET seq = 6")
        await store.append(request("tenant/after"))
        assert await audit(store) == 7
