"""Full disks, files that cannot be written or read, and fleets that are not there."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.test_zombies import stopped_at
from tests.faults.world import ServerWorld, SqliteWorld, World, sqlite_state

SmallDisk = Callable[[Path], bool]
ALL = ("migrate", "--all-tenants")
VERSIONS = ["001", "002", "003"]


def of(world: World) -> SqliteWorld:
    """The world as one of files."""
    assert isinstance(world, SqliteWorld)
    return world


def fatten(path: Path, size: int) -> None:
    """Make a tenant's file at least so many bytes large."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE fat (x BLOB)")
        database.execute("INSERT INTO fat VALUES (zeroblob(?))", (size,))


@pytest.mark.fault(20)
def test_a_full_disk_under_the_ledger_stops_before_acting(make_world: MakeWorld) -> None:
    """What cannot be recorded is not begun; with room again the same command does it all."""
    world = of(make_world("sqlite"))
    world.ok("migrate", "--tenant", "a")
    before = world.file("b").read_bytes()
    full = world.run(*ALL, file_size_limit=16_384)
    assert full.code == 1, full
    assert "ledger.db" in full.err
    assert world.file("b").read_bytes() == before
    world.ok(*ALL)
    world.check(None, VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(20)
@pytest.mark.parametrize("room", [0, 4096, 8192, 16_384])
def test_a_ledger_whose_disk_fills_up_during_the_run(room: int, make_world: MakeWorld) -> None:
    """Wherever the room ends: an error that names the ledger; with room again it converges."""
    world = of(make_world("sqlite"))
    world.ok("migrate", "--tenant", "a")
    limit = (world.root / "ledger.db").stat().st_size + room
    full = world.run(*ALL, file_size_limit=limit)
    assert full.code in (0, 1, 3), full
    assert full.code == 0 or "ledger.db" in full.err + full.out
    world.ok(*ALL)
    world.check(None, VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(21)
def test_a_full_tenant_fails_alone(make_world: MakeWorld) -> None:
    """SQLITE_FULL in one tenant: rolled back and named, the others go on; with room again it converges."""
    world = of(make_world("sqlite"))
    config = world.root / "ledger.toml"
    text = config.read_text()
    config.write_text(
        text.replace('sqlite = "data/*.db"', 'sqlite = "data/a.db"')
        + '\n[[tenants]]\nsqlite = "data/b.db"\nprefix = ""\nsession = ["PRAGMA max_page_count = 4"]\n'
    )
    full = world.run(*ALL)
    assert full.code == 3, full
    assert "b: failed" in full.out
    assert "full" in full.out
    config.write_text(text)
    world.ok(*ALL)
    assert world.state()["a"] == world.state()["b"]
    world.check(None, VERSIONS)


@pytest.mark.fault(22)
def test_a_full_disk_under_the_backups_starts_no_step(make_world: MakeWorld) -> None:
    """No backup, no step: that tenant only; nothing half-written stays."""
    world = of(make_world("sqlite"))
    fatten(world.file("b"), 3_000_000)
    full = world.run(*ALL, file_size_limit=2_000_000)
    assert full.code == 3, full
    assert "b: failed" in full.out
    assert world.sql("b", "SELECT count(*) FROM sqlite_master WHERE name = 'notes'") == [(0,)]
    assert world.sql("a", "SELECT count(*) FROM notes") == [(4,)]
    assert list(world.root.glob("backups/b/*")) == []
    world.ok(*ALL)
    world.check(None, VERSIONS)


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """`small_disk(folder)`: make it a file system of 24 MB; whether that was permitted."""
    mounted: list[Path] = []

    def make(folder: Path) -> bool:
        folder.mkdir(mode=0o700, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode != 0:
            return False
        mounted.append(folder)
        return True

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no room on the disk of that folder."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.fault(20)
def test_no_room_at_all_under_the_ledger(make_world: MakeWorld, small_disk: SmallDisk) -> None:
    """A disk of the ledger's own that is full (where none may be mounted, a file that may not grow)."""
    world = of(make_world("sqlite"))
    mounted = small_disk(world.root / "small")
    config = world.root / "ledger.toml"
    config.write_text(
        config.read_text().replace("sqlite:///ledger.db", "sqlite:///small/ledger.db")
    )
    world.ok("migrate", "--tenant", "a")
    before = world.file("b").read_bytes()
    filler = fill(world.root / "small") if mounted else None
    full = world.run(*ALL, file_size_limit=None if mounted else 16_384)
    assert full.code == 1, full
    assert "ledger.db" in full.err
    assert world.file("b").read_bytes() == before
    if filler is not None:
        filler.unlink()
    world.ok(*ALL)
    world.check(None, VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(21)
def test_no_room_at_all_under_a_tenant(make_world: MakeWorld, small_disk: SmallDisk) -> None:
    """A disk of that tenant's own that is full (where none may be mounted, as many pages as it has)."""
    world = of(make_world("sqlite", tenants=("a",), head='backup = "never"\n'))
    small = world.root / "small"
    mounted = small_disk(small)
    with closing(sqlite3.connect(small / "b.db")) as database:
        database.execute("PRAGMA user_version = 1")
    config = world.root / "ledger.toml"
    text = config.read_text() + '\n[[tenants]]\nsqlite = "small/b.db"\nprefix = ""\n'
    config.write_text(text if mounted else text + 'session = ["PRAGMA max_page_count = 1"]\n')
    filler = fill(small) if mounted else None
    full = world.run(*ALL)
    assert full.code == 3, full
    assert "b: " in full.out
    assert "is full (SQLITE_FULL)" in full.out
    assert world.sql("a", "SELECT count(*) FROM notes") == [(4,)]
    config.write_text(text)
    if filler is not None:
        filler.unlink()
    world.ok(*ALL)
    assert sqlite_state(small / "b.db") == world.state()["a"]
    world.ok("verify")


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    ("room", "size", "step", "said"),
    [
        (8_000_000, 30_000_000, 2, "step 2 ("),
        (400_000, 1_000_000, 2, "committing steps 1 to 2"),
        (0, 1_000_000, 0, "before step 1"),
    ],
)
def test_a_full_disk_is_called_so_wherever_sqlite_meets_it(
    room: int, size: int, step: int, said: str, make_world: MakeWorld, small_disk: SmallDisk
) -> None:
    """In a statement, in the COMMIT that writes what it kept in memory, or in the first write: one
    category, the step, and what to do; with room again it converges. (Where no disk may be
    mounted, the file may have so many pages.)"""
    big = f"CREATE TABLE big (x BLOB);\nINSERT INTO big VALUES (zeroblob({size}));\n"
    world = of(
        make_world(
            "sqlite", tenants=("a",), migrations={"001_big.sql": big}, head='backup = "never"\n'
        )
    )
    config = world.root / "ledger.toml"
    text = config.read_text() + '\n[[tenants]]\nsqlite = "small/b.db"\nprefix = ""\n'
    small = world.root / "small"
    mounted = small_disk(small)
    with closing(sqlite3.connect(small / "b.db")) as database:
        database.execute("PRAGMA user_version = 1")
    pages = 1 + room // 4096
    config.write_text(
        text if mounted else text + f'session = ["PRAGMA max_page_count = {pages}"]\n'
    )
    if mounted:
        spare = small / "spare"
        spare.write_bytes(bytes(room))
        fill(small)
        spare.unlink()
    ended = world.run("migrate", "--tenant", "b", "--format", "json")
    assert ended.code == 3, ended
    (outcome,) = ended.json()["outcomes"]
    assert (outcome["result"], outcome["error"]) == ("failed", "disk_full"), outcome
    if mounted:
        assert outcome.get("step", 0) == step and said in outcome["message"], outcome
    assert "is full (SQLITE_FULL)" in outcome["message"] and "Free disk space" in outcome["hint"]
    (failed,) = world.history("b", "--type", "failed")
    assert failed["body"]["error"] == "disk_full"
    assert failed["body"]["database_code"] == "SQLITE_FULL"
    assert world.ok("status", "--format", "json").json()["summary"] == {"failed": 1, "new": 1}
    if mounted:
        (small / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
    config.write_text(text)
    world.ok(*ALL)
    world.check_ledger(["001"])


@pytest.mark.fault(21)
def test_a_full_table_on_a_server_is_told_with_what_to_do(make_world: MakeWorld) -> None:
    """The server says which; what to do is not to correct the migration. With room it goes on."""
    text = (
        "SET SESSION max_heap_table_size = 16384;\n"
        "CREATE TABLE {prefix}kept (x CHAR(200)) ENGINE=MEMORY;\n"
        # A row each: of one statement for all of them, those that fit would stay.
        + "INSERT INTO {prefix}kept VALUES ('x');\n"
        * 90
    )
    world = make_world("mariadb", migrations={"001_kept.sql": text}, head='backup = "never"\n')
    ended = world.run(*ALL, "--format", "json")
    assert ended.code == 3, ended
    for outcome in ended.json()["outcomes"]:
        assert outcome["result"] == "failed" and "is full" in outcome["message"], outcome
        assert "Free room on the server's disk, or raise the limit" in outcome["hint"]
    assert isinstance(world, ServerWorld)
    for name in world.tenants:
        # Made anew in another session, it has the server's own limit.
        prefix = world.place(name)[1]
        prefix = f"{name}_" if name.startswith("p") else ""
        world.sql(name, f"ALTER TABLE {prefix}kept ENGINE=MEMORY")
    world.ok(*ALL)
    world.check_ledger(["001"])


@pytest.mark.fault(22)
def test_no_room_at_all_under_the_backups(make_world: MakeWorld, small_disk: SmallDisk) -> None:
    """A disk of the backups' own that is full (where none may be mounted, files that may not grow)."""
    world = of(make_world("sqlite"))
    for name in world.tenants:
        fatten(world.file(name), 300_000)
    backups = world.root / "backups"
    filler = fill(backups) if small_disk(backups) else None
    full = world.run(*ALL, file_size_limit=None if filler else 200_000)
    assert full.code in (1, 3), full
    for name in world.tenants:
        assert world.sql(name, "SELECT count(*) FROM sqlite_master WHERE name = 'notes'") == [(0,)]
        assert list(backups.glob(f"{name}/*")) == []
    if filler is not None:
        filler.unlink()
    world.ok(*ALL)
    world.check(None, VERSIONS)


@pytest.mark.fault(24)
def test_a_corrupt_file_is_set_aside(make_world: MakeWorld) -> None:
    """The tenant is named, and a restore brings it back."""
    world = of(make_world("sqlite"))
    world.ok("migrate", "--all-tenants", "--to", "001")
    world.ok("migrate", "--all-tenants", "--to", "002")
    content = bytearray(world.file("b").read_bytes())
    content[0:4096] = b"\xee" * 4096
    world.file("b").write_bytes(bytes(content))
    ended = world.run(*ALL)
    assert ended.code == 3, ended
    assert "b: unreachable" in ended.out
    world.ok("restore", "--tenant", "b", "-y")
    world.ok(*ALL)
    assert world.state()["a"] == world.state()["b"]
    world.check(None, VERSIONS)


@pytest.mark.fault(25)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_a_truncated_backup_is_not_restored(kind: str, make_world: MakeWorld) -> None:
    """Its hash is not what was recorded: refused, and the tenant stays as it is."""
    world = make_world(kind)
    world.ok("migrate", "--all-tenants", "--to", "001")
    world.ok(*ALL)
    before = world.state()
    for path in world.root.glob("backups/*/*"):
        path.write_bytes(path.read_bytes()[:-100])
    ended = world.run("restore", "--all-tenants", "-y")
    assert ended.code == 3, ended
    assert ended.out.count("SHA-256") >= len(world.tenants)
    assert world.state() == before
    assert [row["lock"] for row in world.ok("status", "--format", "json").json()["tenants"]] == [
        None
    ] * len(world.tenants)
    world.ok("verify")


@pytest.mark.fault(32)
def test_thousands_of_tenants_down(make_world: MakeWorld) -> None:
    """Every one is named, within the time that a command may take; the two that are there are migrated."""
    world = of(make_world("sqlite"))
    names = ", ".join(f'"t{number:04}"' for number in range(3000))
    with (world.root / "ledger.toml").open("a") as config:
        config.write(
            f'\n[[tenants]]\nmysql = "mysql://root@127.0.0.1:9"\nprefix = ""\ndatabases = [{names}]\n'
        )
    ended = world.run(*ALL, "--format", "json")
    assert ended.code == 3, ended.err[-2000:]
    results = {row["tenant"]: row["result"] for row in ended.json()["outcomes"]}
    assert len(results) == 3002
    assert results["a"] == results["b"] == "migrated"
    assert {results[f"t{number:04}"] for number in range(3000)} == {"unreachable"}


@pytest.mark.fault(33)
def test_a_tenant_that_vanishes_during_the_run(make_world: MakeWorld) -> None:
    """Its file is gone when its turn comes: named, never made anew, and the other is migrated."""
    world = of(make_world("sqlite", head="parallel = 1\n"))
    running = stopped_at(world, "runner.after_claim")
    gone = next(
        row["tenant"]
        for row in world.ok("status", "--format", "json").json()["tenants"]
        if row["lock"] is None
    )
    world.file(gone).unlink()
    running.send(signal.SIGCONT)
    ended = running.wait()
    assert ended.code == 3, ended
    assert f"{gone}: unreachable" in ended.out
    assert not world.file(gone).exists()
    (other,) = {"a", "b"} - {gone}
    assert world.sql(other, "SELECT count(*) FROM notes") == [(4,)]


@pytest.mark.fault(34)
def test_a_tenant_that_is_locked_has_its_own_deadline(make_world: MakeWorld) -> None:
    """One tenant's lock is waited for within `lock_seconds`; the other is migrated meanwhile."""
    world = of(make_world("sqlite", head="[timeouts]\nlock_seconds = 1.0\n"))
    with closing(sqlite3.connect(world.file("b"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ended = world.run(*ALL)
        other.execute("ROLLBACK")
    assert ended.code == 3, ended
    assert "kept the database locked" in ended.out
    assert world.sql("a", "SELECT count(*) FROM notes") == [(4,)]
    world.ok(*ALL)
    world.check(None, VERSIONS)
