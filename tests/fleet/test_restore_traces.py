"""A restore or an import that fails, and a run that is cancelled, leave an event that says so."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from tests.conftest import MakeDatabase
from tests.faults import commands
from tests.faults.proxy import Proxy, Watch, proxy
from tests.fleet.test_traces import FIRST, SLOW, traces, vanish
from tests.place import WITH_MYSQL, MakePlace, Place
from tests.programs import wait_for
from tests.servers import Server, connect

HEAD = """\
[timeouts]
wait_seconds = 0.5
connect_seconds = 5
statement_seconds = 2
"""

YOYO = (
    "CREATE TABLE _yoyo_migration (migration_hash VARCHAR(64) PRIMARY KEY,"
    " migration_id VARCHAR(255), applied_at_utc TIMESTAMP NULL)",
    "INSERT INTO _yoyo_migration VALUES ('a', '001_first', NULL), ('b', '002_second', NULL)",
)


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants at 001, each with a backup from before it."""
    place = make_place(request.param, head=HEAD)
    place.migration("001_first.sql", FIRST)
    place.ok("migrate", "--all-tenants")
    return place


def backup_of(place: Place, tenant: str) -> Path:
    """The file of the tenant's only backup."""
    (backup,) = place.ok("backups", "--tenant", tenant, "--format", "json").json()
    return place.folder / str(backup["path"])


def restored(place: Place, tenant: str) -> list[str]:
    """Restore one tenant, which fails: what its run recorded of it."""
    ended = place.ended("restore", "--tenant", tenant, "-y", "--format", "json")
    assert ended.code == 3, ended
    run = place.ok("runs", "--format", "json").json()[-1]
    assert run["command"] == "restore", ended
    other = next(name for name in place.names if name != tenant)
    assert traces(place, other, run["run"]) == []
    place.ok("verify")
    return traces(place, tenant, run["run"])


@contextmanager
def locked(place: Place, tenant: str) -> Iterator[None]:
    """Another program is in the middle of a transaction on the tenant."""
    if place.engine == "sqlite":
        path = place.folder / "data" / f"{tenant}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            yield
        return
    assert place.server is not None
    with connect(place.server, tenant) as other, other.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT * FROM notes")
        yield


@contextmanager
def held(place: Place, tenant: str) -> Iterator[None]:
    """Another run is in a statement on the tenant, for longer than the block takes."""
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text().replace("statement_seconds = 2", "statement_seconds = 60"))
    place.migration("002_slow.sql", SLOW[place.engine])
    running = commands.start(place.folder, "migrate", "--tenant", tenant)
    status = ("status", "--tenant", tenant, "--format", "json")
    try:
        wait_for(lambda: place.ended(*status).json()["tenants"][0]["lock"], "a claim")
        yield
    finally:
        running.end()


def test_a_restore_of_a_tenant_that_cannot_be_opened(place: Place) -> None:
    """The other one is left alone."""
    first = place.names[0]
    if place.engine == "sqlite":
        path = place.folder / "data" / f"{first}.db"
        path.unlink()
        path.symlink_to("/proc/self/mem")
    else:
        config = place.folder / "ledger.toml"
        config.write_text(re.sub(r"@[^\"]*", "@127.0.0.1:1/", config.read_text(), count=1))
    assert restored(place, first) == ["tenant_skipped unreachable"]


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_restore_without_a_sound_backup(place: Place, how: str) -> None:
    """The file is gone, or not what was written; the tenant stays as it is."""
    first = place.names[0]
    backup = backup_of(place, first)
    backup.chmod(0o600)
    if how == "missing":
        backup.unlink()
    else:
        backup.write_bytes(backup.read_bytes()[:-20])
    assert restored(place, first) == ["failed restore_failed"]
    assert "notes" in place.objects(first)


@pytest.mark.slow
def test_a_restore_of_a_tenant_that_is_locked(place: Place) -> None:
    """By another program, for longer than a statement may wait."""
    first = place.names[0]
    with locked(place, first):
        # A file's lock is met before the claim.
        event = "tenant_skipped" if place.engine == "sqlite" else "failed"
        assert restored(place, first) == [f"{event} locked"]
    assert "notes" in place.objects(first)


def test_a_restore_of_a_tenant_that_another_run_holds(place: Place) -> None:
    """On its own stream, since the tenant's is the other one's."""
    first = place.names[0]
    with held(place, first):
        assert restored(place, first) == ["tenant_skipped claim_held"]
    assert place.events(first, "tenant_skipped") == []


@pytest.mark.parametrize(
    ("how", "error"),
    [("gone", "unreachable"), ("without a table", "failed"), ("locked by the tool", "failed")],
)
def test_an_import_that_fails(place: Place, how: str, error: str) -> None:
    """Whatever it met: the history could not be read, or must not be."""
    first, second = place.names
    place.migration("002_second.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    place.run(second, *YOYO)
    if how == "gone":
        vanish(place, first)
    elif how == "locked by the tool":
        place.run(first, *YOYO, "CREATE TABLE yoyo_lock (locked INT, ctime INT, pid INT)")
        place.run(first, "INSERT INTO yoyo_lock VALUES (1, 0, 7)")
    ended = place.ended("import", "--from", "yoyo", "--all-tenants", "-y", "--format", "json")
    assert ended.code == 3, ended
    run = ended.json()["run"]
    assert traces(place, first, run) == [f"tenant_skipped {error}"]
    assert traces(place, second, run) == []
    place.ok("verify")


def test_a_call_that_is_cancelled_before_a_claim(place: Place) -> None:
    """While it waits for another run's: the tenant's stream is that run's, the trace stands on this one's."""
    first = place.names[0]
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text().replace("wait_seconds = 0.5", "wait_seconds = 60"))

    async def cancelled() -> bool:
        with anyio.move_on_after(1) as scope:
            await place.open().migrate(first)
        return scope.cancelled_caught

    with held(place, first):
        assert anyio.run(cancelled)
        run = place.ok("runs", "--format", "json").json()[-1]
        assert traces(place, first, run["run"]) == ["tenant_skipped interrupted"]
        assert (run["state"], run["outcomes"]) == ("stopped", {"failed": 1})
    assert place.events(first, "tenant_skipped") == []


def test_a_command_that_is_refused_before_its_run_records_nothing(place: Place) -> None:
    """An unknown tenant, and a file that is none."""
    before = place.ok("history", "--format", "jsonl").lines()
    assert place.ended("migrate", "--tenant", "nobody").code == 2
    place.migration("002_second.sql", "-- skpi-if: table mine\nCREATE TABLE mine (id INTEGER);\n")
    assert place.ended("migrate", "--all-tenants").code == 2
    assert place.ok("history", "--format", "jsonl").lines() == before


@pytest.fixture
def through(
    place: Place, mariadb: Server, make_database: MakeDatabase
) -> Iterator[tuple[Place, Proxy]]:
    """The same tenants, with a new ledger on a server that is reached through a proxy."""
    place.folder.joinpath("ledger.db").unlink()
    name = make_database(mariadb)
    with proxy(mariadb.url.port) as between:
        config = place.folder / "ledger.toml"
        url = f"mysql://{mariadb.url.user}:{mariadb.password}@127.0.0.1:{between.port}/{name}"
        config.write_text(f'url = "{url}"\n{config.read_text()}')
        place.ok("baseline", "--to", "001", "--all-tenants", "-y")
        yield place, between


def after_commit_of(kind: bytes) -> Watch:
    """Whether the client has just committed an append that holds an event of this type."""
    seen = False

    def watch(sent: bytes) -> bool:
        nonlocal seen
        seen = seen or kind in sent
        return seen and b"COMMIT" in sent

    return watch


def test_an_append_whose_acknowledgement_is_lost(through: tuple[Place, Proxy]) -> None:
    """The failure that it holds stands there once, and nothing beside it."""
    place, between = through
    first = place.names[0]
    place.migration("002_broken.sql", "INSERT INTO no_such_table VALUES (1);\n")
    between.cut_after(after_commit_of(b"failed"))
    ended = place.ended("migrate", "--tenant", first, "--format", "json")
    assert ended.code == 3, ended
    assert traces(place, first, ended.json()["run"]) == ["failed step_failed"]
    place.ok("verify")


def test_an_append_of_which_nothing_more_is_heard(
    through: tuple[Place, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has landed, and the run gives up waiting to learn it: what is said then is true."""
    place, between = through
    first = place.names[0]
    place.migration("002_more.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    monkeypatch.setattr("ledger.stores.mysql.WRITE_SECONDS", 0.0)
    between.cut_after(after_commit_of(b"completed"))
    ended = place.ended("migrate", "--tenant", first, "--format", "json")
    (outcome,) = ended.json()["outcomes"]
    assert (ended.code, outcome["error"]) == (3, "failed") and "the ledger on" in outcome["message"]
    assert traces(place, first, ended.json()["run"]) == ["tenant_skipped failed"]
    assert len(place.events(first, "completed")) == 1
    place.ok("verify")
    assert place.ok("migrate", "--tenant", first).out.startswith("Nothing to do")
