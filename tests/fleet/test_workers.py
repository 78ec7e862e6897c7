"""Worker processes: the same result as in one process, and the same safety when one of them dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from ledger import events as ev
from ledger import failpoints
from ledger.fleet.progress import Progress
from tests import programs
from tests.fleet.world import TAGS, Fleet, types
from tests.programs import LEDGER, wait_for

WORKERS = "workers = 2\n"
MIGRATE = ("-q", "migrate", "--all-tenants")
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
        if int(ppid) == parent and b"ledger.fleet.bulk.worker" in command and state != "Z":
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
    bodies = [
        [row.body for row in await fleet.events("t0") if row.type == "completed"]
        for fleet in (alone, shared)
    ]
    assert [b'"algorithm"' in body for body in bodies[1]] == [
        b'"algorithm"' in body for body in bodies[0]
    ]
    assert (await shared.open().verify()).sound
    assert (await shared.open().status()).summary == (await alone.open().status()).summary
    assert (await shared.open().migrate()).summary == {"current": 11, "failed": 1}


async def test_a_tenants_duration_is_that_of_its_work(tmp_path: Path) -> None:
    """Claimed ahead, a tenant waits for a free lane: that is not its duration. With one lane all of
    them together take no longer than the run, and each takes what its migrations and backup took."""
    fleet = Fleet(tmp_path, tenants=40, extra="workers = 1\nparallel = 1\n")
    fleet.write("002_tags.sql", TAGS)
    fleet.write("003_last.sql", "CREATE TABLE last (x INTEGER);\n")
    fleet.run("t3", "CREATE TABLE last (x INTEGER)")
    report = await fleet.open().migrate()
    assert report.summary == {"migrated": 39, "failed": 1}
    # The one that failed is done beside the others.
    serial = [one.duration_us for one in report.outcomes if one.ok]
    assert sum(serial) <= report.duration_us
    for one in report.outcomes:
        rows = await fleet.events(one.tenant)
        parts = [
            row.data.duration_us
            for row in rows
            if isinstance(row.data, ev.Completed | ev.BackupCreated)
        ]
        assert len(parts) == 1 + len(one.migrations)
        assert one.duration_us >= sum(parts) > 0


async def test_a_killed_worker_costs_nobody_anything(tmp_path: Path) -> None:
    """What it had in hand is done in the run itself, once; each step is recorded once."""
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
    assert reports[0].summary == {"migrated": 4}
    assert {len(outcome.migrations) for outcome in reports[0].outcomes} == {2}
    assert (await fleet.open().status()).summary == {"current": 4}
    assert (await fleet.open().verify()).sound
    for number in range(4):
        seen = types(await fleet.events(f"t{number}"))
        assert seen.count("completed") == 2
        assert seen.count("step_applied") == 3


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
    run = programs.start(LEDGER, *MIGRATE, cwd=tmp_path)
    wait_for(lambda: ended_with(fleet, "notes") and len(workers_of(run.pid)) == 2, "two workers")
    children = workers_of(run.pid)
    run.end()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "their end", 30)
    again = programs.run(LEDGER, *MIGRATE, cwd=tmp_path, seconds=100)
    assert again.code == 0, again.err
    assert {tuple(fleet.schema(f"t{number}")) for number in range(4)} == {tuple(fleet.schema("t0"))}
    assert ("slow",) in fleet.query("t0", "SELECT name FROM sqlite_master")


def ended_with(fleet: Fleet, table: str) -> bool:
    """Whether every tenant has the table by now."""
    sql = f"SELECT count(*) FROM sqlite_master WHERE name = '{table}'"
    return all(fleet.query(f"t{number}", sql) == [(1,)] for number in range(4))


async def test_what_workers_cannot_do_is_done_patiently(tmp_path: Path) -> None:
    """Locked, missing, damaged, ahead of the ledger: as in one process, and backed up once."""
    reports = []
    for folder, extra in (("alone", "workers = 0"), ("shared", WORKERS)):
        fleet = Fleet(tmp_path / folder, tenants=8, extra=extra)
        ledger = fleet.open()
        await ledger.migrate(["t5"])
        old = fleet.tenant("t5").read_bytes()
        fleet.write("002_tags.sql", TAGS)
        await ledger.migrate(["t5"])
        fleet.tenant("t5").write_bytes(old)
        fleet.tenant("t1").write_bytes(b"no database at all" * 100)
        with closing(sqlite3.connect(fleet.tenant("t2"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as group:
                group.start_soon(_end_later, other)
                reports.append(await ledger.migrate())
        assert fleet.query("t2", "SELECT tags FROM notes") == [("a",)]
        assert len(list((tmp_path / folder / "backups" / "t2").iterdir())) == 1
        assert (await ledger.verify()).sound
        states = {row.tenant: (row.state, row.lock) for row in (await ledger.status()).tenants}
        assert states == {f"t{n}": ("current", None) for n in range(8)} | {
            "t1": ("unreachable", None)
        }
    one, two = reports
    assert one.summary == two.summary == {"migrated": 7, "unreachable": 1}
    for left, right in zip(one.outcomes, two.outcomes, strict=True):
        assert (left.tenant, left.migrations, left.steps) == (
            right.tenant, right.migrations, right.steps,
        )  # fmt: skip


async def _end_later(other: sqlite3.Connection) -> None:
    await anyio.sleep(0.5)
    other.execute("ROLLBACK")


@pytest.mark.parametrize(
    "point",
    [one for one in failpoints.POINTS if not one.startswith("restore")],
)
def test_a_kill_anywhere_with_workers_needs_at_most_the_same_command(
    tmp_path: Path, point: str
) -> None:
    """Whoever reaches the point, run or worker, dies there; then each step was applied and recorded once."""
    fleet = Fleet(tmp_path, tenants=5, extra=WORKERS)
    fleet.write("002_tags.sql", TAGS)
    programs.run(LEDGER, *MIGRATE, cwd=tmp_path, environment={"LEDGER_FAILPOINT": f"{point}:2"})
    again = programs.run(LEDGER, *MIGRATE, cwd=tmp_path)
    assert again.code == 0, again.err
    for number in range(5):
        name = f"t{number}"
        assert fleet.query(name, "SELECT text, tags FROM notes") == [("hello", "a")]
        seen = types(anyio.run(fleet.events, name))
        assert seen.count("step_applied") == 4
        assert seen.count("completed") == 2
    assert anyio.run(fleet.open().verify).sound
    left = [path.name for path in (tmp_path / "backups").rglob(".*")]
    assert left == []


async def test_the_first_failure_stops_workers_too(tmp_path: Path) -> None:
    """`--on-error stop`: what is in hand is finished, nothing else is begun, and all have an outcome."""
    fleet = Fleet(tmp_path, tenants=40, extra=WORKERS)
    for number in range(40):
        fleet.run(f"t{number}", "CREATE TABLE notes (x)")
    report = await fleet.open().migrate(on_error="stop", parallel=4)
    assert report.summary["failed"] <= 2 * 4
    assert report.summary["failed"] + report.summary["not_run"] == 40
    assert {row.lock for row in (await fleet.open().status()).tenants} == {None}


class Ends(Progress):
    """Keeps how each tenant ended."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def tenant_finished(self, name: str, outcome: str, detail: str, seconds: float) -> None:
        self.of[name] = f"{outcome}: {detail}"


async def test_a_cancelled_run_that_cannot_record_its_end_says_so(tmp_path: Path) -> None:
    """Each claim that stays open is reported as that, with the reason."""
    fleet = Fleet(tmp_path, tenants=3, extra=WORKERS)
    await fleet.open().migrate()
    fleet.write("002_slow.sql", SLOW)
    ends = Ends()
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            with anyio.fail_after(30):
                while len(
                    [row async for row in fleet.open().history(type="started", migration="002")]
                ) < 3:  # fmt: skip
                    await anyio.sleep(0.02)
            with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
                database.execute(
                    "CREATE TRIGGER no_more BEFORE INSERT ON events"
                    " BEGIN SELECT RAISE(ABORT, 'nothing more is taken'); END"
                )
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            ledger = fleet.open()
            ledger.progress = ends
            await ledger.migrate()
    assert sorted(ends.of) == ["t0", "t1", "t2"]
    for said in ends.of.values():
        assert "could not be recorded" in said and "nothing more is taken" in said


async def test_a_cancelled_run_ends_its_workers_and_its_claims(tmp_path: Path) -> None:
    """What was in hand is rolled back, its claims end with an event, and the next run goes on."""
    fleet = Fleet(tmp_path, tenants=6, extra=WORKERS)
    await fleet.open().migrate()
    fleet.write("002_slow.sql", SLOW)
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            with anyio.fail_after(30):
                while len(
                    [row async for row in fleet.open().history(type="started", migration="002")]
                ) < 6:  # fmt: skip
                    await anyio.sleep(0.02)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            await fleet.open().migrate()
    assert scope.cancelled_caught
    assert workers_of(os.getpid()) == []
    status = await fleet.open().status()
    assert {row.lock for row in status.tenants} == {None}
    failed = [row async for row in fleet.open().history(type="failed")]
    assert failed
    assert {row.data.message for row in failed} == {"interrupted before its end"}  # type: ignore[union-attr]
    assert (await fleet.open().migrate()).success
    for number in range(6):
        assert types(await fleet.events(f"t{number}")).count("step_applied") == 3


@pytest.mark.parametrize("by", ["scope", "task"])
async def test_a_run_cancelled_while_its_workers_start_leaves_none(by: str, tmp_path: Path) -> None:
    """By a scope, or by its task as `asyncio.timeout` does it: those that had started are ended."""
    fleet = Fleet(tmp_path, tenants=8, extra="workers = 8")
    await fleet.open().init()
    scope = anyio.CancelScope()

    async def migrate() -> None:
        with scope:
            await fleet.open().migrate()

    task = asyncio.ensure_future(migrate())
    with anyio.fail_after(30):
        while len(workers_of(os.getpid())) < 2:
            await anyio.lowlevel.checkpoint()
    assert not task.done()
    (scope if by == "scope" else task).cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert workers_of(os.getpid()) == []
    assert (await fleet.open().migrate()).success


async def test_a_lease_that_is_over_ends_the_run_and_not_its_patience(tmp_path: Path) -> None:
    """Nobody waits for tenants that may not be begun: each has an outcome, as in one process."""
    fleet = Fleet(tmp_path, tenants=4, extra=f"{WORKERS}lease_seconds = 0.000001")
    with anyio.fail_after(60):
        report = await fleet.open().migrate()
    assert report.summary == {"failed": 4}
    assert {"lease ran out" in outcome.message for outcome in report.outcomes} == {True}


class _Watch(Progress):
    """Remembers which tenants began, as often as they did, and which had ended by then."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tenant_started(self, name: str) -> None:
        self.told.append(("began", name))

    def tenant_finished(
        self, name: str, outcome: str, detail: str, duration_seconds: float
    ) -> None:
        self.told.append((outcome, name))


async def test_locked_tenants_are_waited_for_side_by_side(tmp_path: Path) -> None:
    """As many as `parallel` says: each has its whole patience, and all of them together no more."""
    extra = f"{WORKERS}\nparallel = 8\n[timeouts]\nlock_seconds = 2\n"
    fleet = Fleet(tmp_path, tenants=12, extra=extra)
    watch = _Watch()
    ledger = fleet.open()
    ledger.progress = watch
    locked = {f"t{number}" for number in range(6)}
    with ExitStack() as stack:
        for name in locked:
            other = sqlite3.connect(fleet.tenant(name), isolation_level=None)
            stack.enter_context(closing(other)).execute("BEGIN IMMEDIATE")
        report = await ledger.migrate()
    assert report.summary == {"migrated": 6, "failed": 6}
    first = watch.told.index(next(one for one in watch.told if one[0] == "failed"))
    waited_for = Counter(name for what, name in watch.told[:first] if what == "began")
    # Once for the quick way, and once for the patient one.
    assert {name for name, times in waited_for.items() if times == 2} == locked
