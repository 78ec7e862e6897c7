"""Power loss: what processes wrote is replayed without what was never synced.

The writes, syncs and acknowledgements of real processes are traced (powerloss.c). At many
moments the disk is put together as it may be found after the power came back (powerloss.py):
everything that was synced, and of the rest nothing, or some of it, in any order. First of a
ledger alone; then of a whole fleet that is migrated, with tenants, backups and ledger.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from ledger.drivers.url import SqliteUrl
from ledger.errors import LedgerError
from ledger.stores import open_store
from tests.faults.conftest import MakeWorld
from tests.faults.powerloss import Disk, Files, Record, files_in, trace
from tests.faults.world import MIGRATIONS, SQLITE_MIGRATIONS, SqliteWorld, State
from tests.stores.ledgers import audit, read_all

APPENDS: Final = 160
MOMENTS: Final = 25


def appending(folder: Path, *, lies: bool = False) -> list[Record]:
    """What a process did that appended to a ledger in `folder`; with `lies` its syncs did nothing."""
    folder.mkdir()
    url = str(SqliteUrl(path=str(folder / "ledger.db")))
    arguments = ("-m", "tests.stores.worker", url, "s", str(APPENDS), "4")
    return trace(folder, folder.with_suffix(".trace"), *arguments, lies=folder if lies else None)


async def survives(files: Files, acknowledged: set[int], folder: Path) -> bool:
    """Whether the ledger opens, its chain holds, and every acknowledged event is there."""
    folder.mkdir()
    for path, content in files.items():
        (folder / Path(path).name).write_bytes(content)
    try:
        url = SqliteUrl(path=str(folder / "ledger.db"))
        async with open_store(url, create=False) as store:
            found = {event.seq for event in await read_all(store)}
            await audit(store)
    except LedgerError:
        return False
    finally:
        shutil.rmtree(folder)
    return acknowledged <= found


async def lost_at(trace: list[Record], folder: Path) -> list[int]:
    """At how many acknowledged events something of them was lost."""
    chance = random.Random(1)
    ends = [index for index, record in enumerate(trace) if record.op == "A"]
    moments = set(chance.sample(ends, MOMENTS - 5)) | set(ends[-5:])
    disk, lost = Disk(), []
    acknowledged: set[int] = set()
    for index, record in enumerate(trace):
        disk.take(record)
        if record.op == "A":
            acknowledged |= {int(word) for word in record.data.split()}
        if index in moments:
            for number, some in enumerate((None, chance)):
                files = disk.found(some)
                if not await survives(files, acknowledged, folder / f"found-{index}-{number}"):
                    lost.append(len(acknowledged))
    return lost


@pytest.mark.fault(9)
async def test_no_acknowledged_event_is_lost(tmp_path: Path) -> None:
    """Whenever the power goes: what was told to a caller is there, and the chain holds."""
    done = appending(tmp_path / "sqlite")
    assert sum(record.op == "S" for record in done) >= APPENDS // 8
    assert await lost_at(done, tmp_path) == []


@pytest.mark.fault(9)
async def test_without_syncs_events_are_lost(tmp_path: Path) -> None:
    """The negative control: where syncs do nothing, this very test finds the loss."""
    assert await lost_at(appending(tmp_path / "sqlite", lies=True), tmp_path) != []


HAS_TABLE: Final = "SELECT 1 FROM sqlite_master WHERE name = '{}'"
ALL: Final = ("migrate", "--all-tenants")
TRANSACTIONAL: Final = {name: MIGRATIONS[name] for name in ("001_notes.sql", "002_tags.sql")}
"""What the quick way takes."""

UP_TO_001: Final = ("migrate", "--all-tenants", "--to", "001")


class Case(NamedTuple):
    """A fleet, what is done to it before, and the command that the power loss meets."""

    head: str
    tenants: str
    migrations: Mapping[str, str]
    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    versions: tuple[str, ...]


CASES: Final = {
    "patient": Case("workers = 0\n", "ab", SQLITE_MIGRATIONS, (), ALL, ("001", "002", "003")),
    "alone": Case("workers = 0\n", "b", SQLITE_MIGRATIONS, (), ALL, ("001", "002", "003")),
    "quick": Case("workers = 2\n", "abcd", TRANSACTIONAL, (), ALL, ("001", "002")),
    "rollback": Case(
        "workers = 0\n",
        "ab",
        SQLITE_MIGRATIONS,
        (ALL,),
        ("rollback", "--all-tenants", "--to", "001", "-y"),
        ("001",),
    ),
    "restore": Case(
        "workers = 0\n",
        "ab",
        SQLITE_MIGRATIONS,
        (UP_TO_001, ALL),
        ("restore", "--all-tenants", "-y"),
        ("001",),
    ),
}
Applied = tuple[str, str]
"""A tenant and a version."""

TOLD: Final = ("patient", "quick", "rollback")
"""Of these each event says what the tenant holds."""


class Fleet:
    """A fleet of files, and what a command did to the disk.

    One of its tenants is in WAL mode. The patient way gets a migration that no transaction
    takes, too; on the quick way two processes work on the tenants. Syncs of what begins
    with `lies` (a path in the fleet's folder) did nothing; None for no lie.
    """

    def __init__(
        self, name: str, make_world: MakeWorld, log: Path, *, lies: str | None = None
    ) -> None:
        self.case = case = CASES[name]
        made = make_world(
            "sqlite", head=case.head, tenants=case.tenants, migrations=case.migrations
        )
        assert isinstance(made, SqliteWorld)
        self.world = made
        self.root = made.root
        made.sql("b", "PRAGMA journal_mode = WAL")
        for command in case.before:
            made.ok(*command)
        self.before = files_in(self.root)
        self.trace = self.traced(log, lies=None if lies is None else self.root / lies)
        self.after = files_in(self.root)
        self.expected: State = made.state()

    def traced(self, log: Path, **how: Any) -> list[Record]:
        """What the command does now; see powerloss.trace."""
        return trace(self.root, log, *("-m", "ledger", *self.case.command), cwd=self.root, **how)

    def writers(self, name: str) -> set[int]:
        """The processes that wrote to what begins with that path."""
        begins = str(self.root / name)
        return {one.process for one in self.trace if one.op == "W" and one.path.startswith(begins)}

    def moments(self, *, since: int = 0) -> Iterator[tuple[Disk, bool]]:
        """The disk just before each sync (or what was meant to be one), and (True) just after.

        Those `since` so many records.
        """
        disk = Disk(self.before)
        for record in self.trace[:since]:
            disk.take(record)
        for record in self.trace[since:]:
            if record.op in "SN":
                yield disk, False
            disk.take(record)
            if record.op in "SN":
                yield disk, True

    def put(self, files: Files) -> None:
        """The fleet's folder as it is found."""
        for path in self.root.rglob("*"):
            if path.is_file():
                path.unlink()
        shutil.rmtree(self.root / "backups", ignore_errors=True)
        for name, content in files.items():
            path = Path(name)
            for folder in reversed(path.parents):
                folder.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(content)

    def broken_promises(self) -> list[str]:
        """Where tenants and backups hold something else than the ledger says, apart from what is under way."""
        try:
            told, under_way, wrong = self.told()
            held = {(name, version) for name in self.world.tenants for version in self.held(name)}
        except (sqlite3.DatabaseError, ValueError) as error:
            return [f"not to be read: {error}"]
        wrong += [f"{one} in the ledger, not in the tenant" for one in told - held - under_way]
        return wrong + [
            f"{one} in the tenant, not in the ledger" for one in held - told - under_way
        ]

    def told(self) -> tuple[set[Applied], set[Applied], list[str]]:
        """By the ledger's events: what is applied, what is under way, which backups are not as recorded."""
        told: set[Applied] = set()
        under_way: dict[str, Applied] = {}
        wrong = []
        events: list[tuple[str, str, str]] = []
        if self.world.ledger_sql(HAS_TABLE.format("event_log")):
            events = self.world.ledger_sql("SELECT type, tenant, body FROM event_log ORDER BY seq")
        for kind, tenant, text in events:
            body = json.loads(text)
            one = (tenant, (body.get("migration") or {}).get("version", ""))
            if kind == "started":
                under_way[tenant] = one
            elif kind in ("completed", "rolled_back", "restored"):
                told = told | {one} if kind == "completed" else told - {one}
                under_way.pop(tenant, None)
            elif kind == "backup_created":
                path = Path(body["path"])
                if not path.exists():
                    wrong.append(f"{path.name} in the ledger, not in the folder")
                elif hashlib.sha256(path.read_bytes()).hexdigest() != body["sha256"]:
                    wrong.append(f"{path.name} is not what the ledger says")
        return told, set(under_way.values()), wrong

    def held(self, tenant: str) -> list[str]:
        """What is applied by the tenant's own marker."""
        if not self.world.sql(tenant, HAS_TABLE.format("ledger_marker")):
            return []
        rows = self.world.sql(tenant, "SELECT body FROM ledger_marker WHERE id <> ''")
        entries = [json.loads(body) for (body,) in rows]
        return [one["ref"]["version"] for one in entries if one["state"] == "applied"]

    def run_again(self, files: Files) -> None:
        """The same command over what is found. Raises AssertionError unless all is right then."""
        self.put(files)
        self.world.ok(*self.case.command)
        for note in self.root.glob("backups/*/.*.unrecorded"):
            # It was removed after its backup was recorded, and came back: the next backup removes it.
            assert note.stat().st_size == 0
            note.unlink()
        assert self.world.state() == self.expected
        self.world.check_ledger(self.case.versions)
        _, under_way, wrong = self.told()
        assert (under_way, wrong) == (set(), [])


def found_states(fleet: Fleet) -> Iterator[Files]:
    """After each sync what is durable, and before every third one some of the rest too; each state once."""
    chance = random.Random(3)
    seen: set[bytes] = set()
    for number, (disk, after) in enumerate(fleet.moments()):
        if not after and number % 6:
            continue
        files = disk.found(None if after else chance)
        digest = hashlib.sha256(repr(files).encode()).digest()
        if digest not in seen:
            seen.add(digest)
            yield files


def promises_broken(fleet: Fleet, *, since: int = 0) -> Iterator[str]:
    """What does not hold, at each sync of all processes; at the end all must be there.

    Looked at only `since` so many records of the trace.
    """
    chance = random.Random(2)
    disk = Disk(fleet.before)
    for disk, after in fleet.moments(since=since):
        fleet.put(disk.found(None if after else chance))
        yield from fleet.broken_promises()
    fleet.put(disk.found())
    told, _, _ = fleet.told()
    every = {(name, version) for name in fleet.world.tenants for version in fleet.case.versions}
    yield from (f"{one} acknowledged, not in the ledger" for one in every ^ told)


@pytest.mark.fault(9)
@pytest.mark.parametrize("name", TOLD)
def test_the_ledger_says_what_is_on_the_disk(
    name: str, make_world: MakeWorld, tmp_path: Path
) -> None:
    """A tenant's commit is durable before the ledger says so, its claim before that, and a backup too."""
    fleet = Fleet(name, make_world, tmp_path / "trace")
    disk = Disk(fleet.before)
    for record in fleet.trace:
        disk.take(record)
    assert disk.seen() == fleet.after, "the trace is not all of it"
    (keeper,) = fleet.writers("ledger.db")
    assert len(fleet.writers("data") - {keeper}) == (2 if name == "quick" else 0)
    assert list(promises_broken(fleet)) == []


@pytest.mark.fault(9)
@pytest.mark.parametrize("name", ["patient", "quick"])
@pytest.mark.parametrize(
    ("lies", "broken"),
    [
        ("data", "in the ledger, not in the tenant"),
        ("ledger.db", "in the tenant, not in the ledger"),
        ("backups", "is not what the ledger says"),
        ("", "acknowledged, not in the ledger"),
    ],
)
def test_without_syncs_it_does_not(
    lies: str, broken: str, name: str, make_world: MakeWorld, tmp_path: Path
) -> None:
    """The negative control: where only these syncs do nothing, the same look finds it, and names it."""
    fleet = Fleet(name, make_world, tmp_path / "trace", lies=lies)
    assert any(one.endswith(broken) for one in promises_broken(fleet))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(9)
@pytest.mark.parametrize("name", [name for name in CASES if name != "alone"])
def test_power_lost_at_any_sync_simply_run_it_again(
    name: str, make_world: MakeWorld, tmp_path: Path
) -> None:
    """Whatever made it to tenants, backups and ledger: the same command ends as if nothing had happened."""
    fleet = Fleet(name, make_world, tmp_path / "trace")
    for files in found_states(fleet):
        fleet.run_again(files)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(9)
@pytest.mark.parametrize("name", ["patient", "rollback"])
def test_what_a_killed_run_left_unsynced_is_synced_before_it_is_recorded(
    name: str, make_world: MakeWorld, tmp_path: Path
) -> None:
    """Killed at a sync that a tenant's commit takes; the next run finds the commit, and then the power goes."""
    fleet = Fleet(name, make_world, tmp_path / "trace")
    syncs = [record.path for record in fleet.trace if record.op == "S"]
    data = str(fleet.root / "data")
    commits = [n for n, at in enumerate(syncs, 1) if at == data or at == f"{data}/b.db-wal"]
    assert len(commits) >= 10
    for number in commits[::2]:
        fleet.put(fleet.before)
        log = tmp_path / f"trace-{number}"
        killed = fleet.traced(log, dies_at=number)
        fleet.trace = fleet.traced(log)
        assert list(promises_broken(fleet, since=len(killed))) == []


@pytest.mark.fault(9)
def test_a_folder_of_backups_that_a_killed_run_left_unsynced(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """Killed at the sync that its name takes; the next run finds the folder, and then the power goes."""
    fleet = Fleet("alone", make_world, tmp_path / "trace")
    syncs = [record.path for record in fleet.trace if record.op == "S"]
    named = [n for n, at in enumerate(syncs, 1) if at == f"{fleet.root}/backups"]
    fleet.put(fleet.before)
    killed = fleet.traced(tmp_path / "again", dies_at=named[0])
    fleet.trace = fleet.traced(tmp_path / "again")
    assert list(promises_broken(fleet, since=len(killed))) == []


@pytest.mark.fault(9)
@pytest.mark.parametrize("name", ["patient", "quick"])
def test_power_lost_without_syncs_is_not_mended_by_that(
    name: str, make_world: MakeWorld, tmp_path: Path
) -> None:
    """The negative control: where syncs do nothing, there are states from which it does not end well."""
    fleet = Fleet(name, make_world, tmp_path / "trace", lies="")
    with pytest.raises((AssertionError, sqlite3.DatabaseError)):
        for files in found_states(fleet):
            fleet.run_again(files)
