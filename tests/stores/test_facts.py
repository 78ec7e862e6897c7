"""What a fold is given of an event: on every store the same as of the event read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.errors import NewerLedgerError
from ledger.events import LeaseRenewed, TenantSkipped
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
            event = new_event(skipped, tenant=name, actor="ana@höst")
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


def test_a_fact_from_the_future_is_named() -> None:
    """Without the event's own column for it, the error still says which type it is."""
    body = '{"type":"lease_renewed","schema":99,"lease_seconds":1}'
    with pytest.raises(NewerLedgerError, match=r"'lease_renewed' \(schema 99\)"):
        FleetState().fold_facts([(1, 1, "2026-01-01T00:00:00.000000Z", "r", "a", None, body)])
