"""Worker processes: the same result as in one process, and the same safety when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio

from tests.fleet.world import TAGS, Fleet, types

WORKERS = "workers = 2\n"
SLOW = (
    "CREATE TABLE slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < 5000000) SELECT max(i) AS i FROM n;\n"
)


def workers_of(parent: int) -> list[int]:
    """The living worker processes of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        state, ppid = stat.rpartition(")")[2].split()[:2]
        if int(ppid) == parent and b"ledger.fleet.worker" in command and state != "Z":
            found.append(int(folder.name))
    return found


async def test_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    """Outcomes, events of each tenant and schemas are alike; the ledger verifies."""
    alone = Fleet(tmp_path / "alone", tenants=12, extra="workers = 0")
    shared = Fleet(tmp_path / "shared", tenants=12, extra=WORKERS)
    for fleet in (alone, shared):
        fleet.write("002_tags.sql", TAGS)
        fleet.run("t7", "CREATE TABLE notes (x)")
    one, two = await alone.open().migrate(), await shared.open().migrate()
    assert one.summary == two.summary == {"migrated": 11, "failed": 1}
    assert two.failures[0].message == one.failures[0].message
    assert two.failures[0].file == str(shared.migrations / "001_notes.sql")
    for name in ("t0", "t7", "t11"):
        assert types(await shared.events(name)) == types(await alone.events(name))
        assert shared.schema(name) == alone.schema(name)
    assert (await shared.open().verify()).sound
    assert (await shared.open().status()).summary == (await alone.open().status()).summary
    assert (await shared.open().migrate()).summary == {"current": 11, "failed": 1}


async def test_a_killed_worker_costs_its_tenants_this_run_only(tmp_path: Path) -> None:
    """Every tenant has an outcome; the next run takes over at once and converges."""
    fleet = Fleet(tmp_path, tenants=4, extra=WORKERS)
    fleet.write("002_slow.sql", SLOW)
    reports = []

    async def migrate() -> None:
        reports.append(await fleet.open().migrate())

    async with anyio.create_task_group() as group:
        group.start_soon(migrate)
        with anyio.fail_after(30):
            while len(found := workers_of(os.getpid())) < 2 or not await _at_work(fleet):
                await anyio.sleep(0.05)
        os.kill(found[0], signal.SIGKILL)
    assert len(reports[0].outcomes) == 4
    lost = reports[0].failures
    assert lost
    assert all("worker process" in outcome.message for outcome in lost)
    again = await fleet.open().migrate()
    assert again.success
    assert (await fleet.open().status()).summary == {"current": 4}
    for number in range(4):
        assert types(await fleet.events(f"t{number}")).count("completed") == 2


async def _at_work(fleet: Fleet) -> bool:
    """Whether every tenant has been claimed for the slow migration."""
    if not await anyio.Path(fleet.root / "ledger.db").exists():
        return False
    rows = [row async for row in fleet.open().history(type="started", migration="002")]
    return len(rows) == 4


def test_a_killed_run_takes_its_workers_with_it(tmp_path: Path) -> None:
    """SIGKILL of the run: the workers roll back and end by themselves; the same command converges."""
    fleet = Fleet(tmp_path, tenants=4, extra=WORKERS)
    fleet.write("002_slow.sql", SLOW)
    command = [sys.executable, "-m", "ledger", "-q", "migrate", "--all-tenants"]
    with subprocess.Popen(command, cwd=tmp_path) as run:
        deadline = time.monotonic() + 30
        while not (ended_with(fleet, "notes") and len(workers_of(run.pid)) == 2):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = workers_of(run.pid)
        run.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.05)
    again = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {tuple(fleet.schema(f"t{number}")) for number in range(4)} == {tuple(fleet.schema("t0"))}
    assert ("slow",) in fleet.query("t0", "SELECT name FROM sqlite_master")


def ended_with(fleet: Fleet, table: str) -> bool:
    """Whether every tenant has the table by now."""
    sql = f"SELECT count(*) FROM sqlite_master WHERE name = '{table}'"
    return all(fleet.query(f"t{number}", sql) == [(1,)] for number in range(4))
