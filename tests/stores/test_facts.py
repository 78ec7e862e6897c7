"""What a fold is given of an event: on every store the same as of the event read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.errors import NewerLedgerError
from ledger.events import LeaseRenewed, StepApplied, TenantSkipped
from ledger.projections import FleetState, all_keys, dump
from ledger.stores.base import Append, Filter
from tests.conftest import MakeDatabase
from tests.servers import Server
from tests.stores.ledgers import MEMORY, Place, new_event, read_all, server_place, sqlite_place


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


async def test_facts_fold_into_what_whole_events_fold_into(place: Place) -> None:
    """In lists of any size, for any filter, and with words from outside ASCII in the bodies."""
    async with place.open() as store:
        for index in range(12):
            name = f"tenant-{index % 3}"
            skipped = TenantSkipped(reason="unreachable", detail=f"ü😀{index}")
            event = new_event(skipped, actor="ana@höst")
            await store.append(Append(stream=f"tenant/{name}", events=(event,)))
            renewed = new_event(LeaseRenewed(lease_seconds=30))
            await store.append(Append(stream="run/run-1", events=(renewed,)))
        for where in (Filter(), Filter(after_seq=5), Filter(stream="tenant/tenant-1")):
            for batch in (1, 5, 10_000):
                whole, lean = FleetState(), FleetState()
                whole.fold(await read_all(store, where))
                async for facts in store.read_facts(where, batch=batch):
                    assert 0 < len(facts) <= batch
                    lean.fold_facts(facts)
                assert dump(lean, all_keys(lean)) == dump(whole, all_keys(whole))
                assert (lean.seq, lean.touched) == (whole.seq, whole.touched)
                assert lean.seq > 0


async def test_what_a_fold_does_not_need_is_not_decoded(tmp_path: Path) -> None:
    """Of a step only which one it is; a type from the future is named all the same."""
    place = sqlite_place(tmp_path)
    steps = tuple(
        new_event(
            StepApplied(
                set="s",
                version="1",
                direction="up",
                step=step,
                of=3,
                name="n",
                statement=statement,
                duration_us=7,
            )
        )
        for step, statement in ((1, "a"), (2, "a"), (1, "b"), (1, "c"))
    )
    async with place.open() as store:
        await store.append(Append(stream="tenant/a", events=steps))
        async for facts in store.read_facts():
            seen = [event for *_, event in facts if isinstance(event, StepApplied)]
            assert [event.step for event in seen] == [1, 2, 1, 1]
            assert {(event.set, event.version, event.direction) for event in seen} == {
                ("s", "1", "up")
            }
    place.execute(
        "DROP TRIGGER event_names_refuse_update",
        "UPDATE event_names SET name = 'quantum_leapt' WHERE name = 'step_applied'",
    )
    async with place.open() as store:
        with pytest.raises(NewerLedgerError, match="'quantum_leapt'"):
            async for _ in store.read_facts():
                pass
