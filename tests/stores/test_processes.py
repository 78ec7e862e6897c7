"""Several processes on one ledger, and processes that are killed while they append."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.servers import ROOT, Server
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
) -> subprocess.Popen[str]:
    """A worker process; with `failpoint` it kills itself there."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.stores.worker",
            str(place.url),
            stream,
            f"{count}",
            f"{at_once}",
        ],
        cwd=ROOT,
        env={**os.environ, "LEDGER_FAILPOINT": failpoint},
        stdout=subprocess.PIPE,
        text=True,
    )


def told(worker: subprocess.Popen[str]) -> list[int]:
    """The seqs that the worker was told before it ended."""
    output, _ = worker.communicate(timeout=60)
    return [int(word) for word in output.split()]


async def test_processes_share_one_gapless_chain(place: Place) -> None:
    """Three processes append at the same time: no gap, no fork, everything told is there."""
    workers = [start(place, f"worker-{index}", 60, 1 + 5 * index) for index in range(3)]
    seqs = [seq for worker in workers for seq in told(worker)]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
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
    seqs = told(worker)
    assert worker.returncode == -signal.SIGKILL
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
    assert worker.stdout is not None
    lines = [worker.stdout.readline() for _ in range(200)]
    worker.kill()
    seqs = [int(word) for word in "".join(lines).split()] + told(worker)
    async with place.open(create=False) as store:
        found = {recorded.seq for recorded in await read_all(store)}
        assert set(seqs) <= found
        assert len(found) % 2 == 0
        assert (await store.append(request("tenant/next")))[0].seq == len(found) + 1
        assert await audit(store) == len(found) + 1
