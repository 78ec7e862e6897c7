"""A tenant whose writer was killed: a hot journal or a WAL that has to be recovered before it can be read."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import World
from tests.servers import ROOT

NOTES: Final = """\
CREATE TABLE notes (id INTEGER PRIMARY KEY, words TEXT);
CREATE TABLE bulk (id INTEGER PRIMARY KEY, words TEXT);
"""
HISTORY: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (version varchar(128) primary key);
INSERT OR IGNORE INTO schema_migrations VALUES ('001');
CREATE TABLE IF NOT EXISTS names (name TEXT, url TEXT);
INSERT INTO names SELECT 'b', 'sqlite:///other/b.db' WHERE NOT EXISTS (SELECT 1 FROM names);
"""
WRITER: Final = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = " + sys.argv[2])
database.execute("BEGIN IMMEDIATE")
for number in range(500):
    database.execute("INSERT INTO bulk (words) VALUES (?)", ("x" * 900,))
database.execute("COMMIT")
if sys.argv[2] != "wal":
    database.execute("PRAGMA cache_size = 2")
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE bulk SET words = 'half ' || words")
os.kill(os.getpid(), signal.SIGKILL)
"""
MODES: Final = ("delete", "persist", "wal")


def kill_a_writer(path: Path, mode: str) -> None:
    """Leave a hot journal, or a WAL that no process has open any more."""
    ended = subprocess.run([sys.executable, "-c", WRITER, str(path), mode], check=False)
    assert ended.returncode == -signal.SIGKILL
    beside = path.with_name(f"{path.name}-{'wal' if mode == 'wal' else 'journal'}")
    assert beside.stat().st_size > 1000
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def world_with(make_world: MakeWorld, mode: str, *, migrated: bool) -> World:
    """One tenant, migrated or another tool's, and then its writer is killed."""
    world = make_world("sqlite", tenants=("a",), migrations={"001_notes.sql": NOTES})
    if migrated:
        world.ok("migrate", "--all-tenants")
    else:
        with closing(sqlite3.connect(world.root / "data/a.db")) as database:
            database.executescript(NOTES + HISTORY)
    kill_a_writer(world.root / "data/a.db", mode)
    return world


LOOKING: Final = (
    ("doctor",),
    ("doctor", "--quick"),
    ("status",),
    ("plan", "--all-tenants"),
    ("validate",),
    ("schema", "a"),
    ("stats",),
    ("tenants",),
    ("rehearse", "--tenant", "a"),
)


@pytest.mark.fault(57)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_a_looking_command_sees_what_was_committed(
    make_world: MakeWorld, mode: str, command: tuple[str, ...]
) -> None:
    """The first time and again: as on a tenant that was closed; nothing of the broken write is left."""
    world = world_with(make_world, mode, migrated=True)
    for _ in range(2):
        world.ok(*command)
    found = world.sql("a", "SELECT count(*), min(words) = max(words) FROM bulk")
    assert found == [(500, 1)]


@pytest.mark.fault(57)
@pytest.mark.parametrize("mode", MODES)
def test_an_import_converges(make_world: MakeWorld, mode: str) -> None:
    """Another tool's history is read beside a hot journal, in the dry run and for real."""
    world = world_with(make_world, mode, migrated=False)
    told = world.ok("import", "--from", "dbmate", "--all-tenants", "--dry-run")
    assert "001" in told.out
    kill_a_writer(world.root / "data/a.db", mode)
    world.ok("import", "--from", "dbmate", "--all-tenants", "-y")
    world.check_ledger(["001"])


@pytest.mark.fault(57)
@pytest.mark.parametrize("mode", MODES)
def test_a_control_plane_is_asked(make_world: MakeWorld, mode: str) -> None:
    """The database that lists the tenants may be what its writer has left."""
    world = world_with(make_world, mode, migrated=False)
    (world.root / "other").mkdir()
    (world.root / "other/b.db").touch()
    world.configure(
        'url = "sqlite:///ledger.db"', '[[tenants]]\nquery = "SELECT name, url FROM names"\n'
    )
    config = (world.root / "ledger.toml").read_text()
    (world.root / "ledger.toml").write_text(config + 'url = "sqlite:///data/a.db"\n')
    assert "b" in world.ok("tenants").out


READER: Final = """
import json, os, sys, anyio
from pathlib import Path
from ledger import Ledger

async def look(config):
    async with Ledger.open(config) as ledger:
        doctor, report = await ledger.doctor(), await ledger.validate()
    return [repr(doctor), repr(report)]

async def main():
    await look(sys.argv[1])  # Everything is imported now.
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    print(json.dumps(await look(sys.argv[2])))

anyio.run(main)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can look into (pytest's own are the owner's alone)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for one in (folder / "good/data", folder / "bad/data"):
            one.chmod(0o755)


def _place(folder: Path, name: str) -> Path:
    """A configuration with one migrated tenant; its ledger may be written by everybody."""
    from tests.faults.commands import start

    root = folder / name
    (root / "migrations").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "migrations/001_notes.sql").write_text(NOTES)
    with closing(sqlite3.connect(root / "data/a.db")) as database:
        database.execute("PRAGMA user_version = 1")
    (root / "ledger.toml").write_text(
        'url = "sqlite:///ledger.db"\nbackup = "never"\n[[tenants]]\nsqlite = "data/*.db"\n'
    )
    assert start(root, "migrate", "--all-tenants").wait().code == 0
    return root


def _read_only(root: Path) -> None:
    for one in (root / "data").iterdir():
        one.chmod(0o444)
    (root / "data").chmod(0o555)
    for one in (root, *root.glob("ledger.db*")):
        one.chmod(0o777)


@pytest.mark.fault(57)
@pytest.mark.parametrize(
    ("mode", "killed"),
    [("delete", False), ("delete", True), ("wal", False), ("wal", True)],
    ids=["journal", "hot journal", "wal", "wal to recover"],
)
def test_a_folder_that_cannot_be_written(open_folder: Path, mode: str, killed: bool) -> None:
    """It is read as it lies; where something has to be recovered first, the hint says who can."""
    good, bad = _place(open_folder, "good"), _place(open_folder, "bad")
    if killed:
        kill_a_writer(bad / "data/a.db", mode)
    else:
        with closing(sqlite3.connect(bad / "data/a.db")) as database:
            database.execute(f"PRAGMA journal_mode = {mode}")
    _read_only(bad)
    ended = subprocess.run(
        [sys.executable, "-c", READER, str(good / "ledger.toml"), str(bad / "ledger.toml")],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    doctor, report = json.loads(ended.stdout)
    said: Any = doctor + report
    assert ("killed has left changes" in doctor) == killed, said
    assert ("killed has left changes" in report) == killed, said
    assert killed or "unreachable" not in said
