"""Several processes on one ledger, and processes that are killed while they append."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import programs
from tests.conftest import MakeDatabase
from tests.programs import Ended, Program, wait_for
from tests.servers import Server
from tests.stores.ledgers import Place, audit, read_all, request, server_place, sqlite_place


@pytest.fixture(params=["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def place(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    """Each kind of ledger that several processes can share, empty."""
    if request.param == "sqlite":
        return sqlite_place(tmp_path)
    server: Server = request.getfixturevalue(request.param)
    if server.password:
        pytest.fail("the worker takes no password: name a server whose account has none")
    return server_place(server, make_database(server))


def start(
    place: Place, stream: str, count: int, at_once: int = 1, *, failpoint: str = ""
) -> Program:
    """A worker process; with `failpoint` it kills itself there."""
    return programs.start(
        "tests.stores.worker",
        *(str(place.url), stream, f"{count}", f"{at_once}"),
        environment={"LEDGER_FAILPOINT": failpoint},
    )


def told(ended: Ended) -> list[int]:
    """The seqs that the worker was told before it ended."""
    return [int(word) for word in ended.out.split()]


async def test_processes_share_one_gapless_chain(place: Place) -> None:
    """Three processes append at the same time: no gap, no fork, everything told is there."""
    workers = [start(place, f"worker-{index}", 60, 1 + 5 * index) for index in range(3)]
    ended = [worker.wait() for worker in workers]
    seqs = [seq for one in ended for seq in told(one)]
    assert [one.code for one in ended] == [0, 0, 0]
    assert sorted(seqs) == list(range(1, 361))
    async with place.open(create=False) as store:
        assert await audit(store) == 360


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("failpoint", ["store.before_commit", "store.after_commit"])
async def test_a_killed_process_loses_nothing_it_was_told(
    place: Place, failpoint: str, at_once: int
) -> None:
    """kill -9 around a commit: what was told is there; each other append is there whole or not at all.

    The next append goes on without a gap.
    """
    worker = start(place, "worker", 40, at_once, failpoint=f"{failpoint}:3")
    ended = worker.wait()
    seqs = told(ended)
    assert ended.killed
    assert seqs == list(range(1, len(seqs) + 1))
    async with place.open(create=False) as store:
        (event,) = await store.append(request("tenant/next"))
        found = [recorded.seq for recorded in await read_all(store)]
        assert found[: len(seqs)] == seqs
        lost_or_whole = len(found) - 1 - len(seqs)
        assert lost_or_whole % 2 == 0
        assert (lost_or_whole > 0) == (failpoint == "store.after_commit")
        assert await audit(store) == event.seq


async def test_a_process_killed_at_any_moment(place: Place) -> None:
    """kill -9 from outside, in the middle of a stream of appends, leaves a whole ledger."""
    worker = start(place, "worker", 100_000, 20)
    wait_for(lambda: worker.out.count("\n") >= 200, "200 appends")
    worker.end()
    seqs = told(worker.wait())
    async with place.open(create=False) as store:
        found = {recorded.seq for recorded in await read_all(store)}
        assert set(seqs) <= found
        assert len(found) % 2 == 0
        assert (await store.append(request("tenant/next")))[0].seq == len(found) + 1
        assert await audit(store) == len(found) + 1
