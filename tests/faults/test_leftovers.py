"""What a killed run has left beside the tenants is gone after the next one, and nothing else is."""

from __future__ import annotations

import signal

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import ServerWorld, World
from tests.programs import wait_for
from tests.servers import query, statements

MADE_SLOWLY = "CREATE TABLE {prefix}slow AS SELECT SLEEP(%s) AS x;\n-- migrate:down\nDROP TABLE {prefix}slow;\n"
SCRATCH = r"SHOW DATABASES LIKE 'ledger\_%\_%'"


def _backups(world: World) -> set[str]:
    """Every file in the tenants' backup folders, hidden ones too."""
    return {str(path) for path in world.root.glob("backups/*/*")}


def _recorded(world: World) -> set[str]:
    """The files that the ledger knows."""
    events = world.history("--type", "backup_created")
    return {event["body"]["path"] for event in events}


@pytest.mark.fault(7)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
@pytest.mark.parametrize("command", ["migrate", "rollback"])
def test_a_backup_that_was_not_recorded_is_removed(
    kind: str, command: str, make_world: MakeWorld
) -> None:
    """Killed between a backup's final name and its event, twice: only recorded files are there in the end."""
    world = make_world(kind)
    typed = ["migrate", "--all-tenants"]
    if command == "rollback":
        world.ok(*typed)
        typed = ["rollback", "--all-tenants", "--to", "001", "-y"]
    for _ in range(2):
        assert world.run(*typed, failpoint="backup.after_rename").killed
        assert len(_backups(world) - _recorded(world)) >= 2
    world.ok(*typed)
    assert _backups(world) == _recorded(world)


@pytest.mark.fault(7)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_a_backup_that_was_recorded_stays(kind: str, make_world: MakeWorld) -> None:
    """Killed just after the event: the file is a backup like any other, and can be restored."""
    world = make_world(kind, head="parallel = 1\n")
    # The first appends are the run's beginning, the claim and the backup.
    assert world.run("migrate", "--all-tenants", failpoint="store.after_commit:3").killed
    before = _recorded(world)
    assert len(before) == 1
    world.ok("migrate", "--all-tenants")
    assert before < _recorded(world) == _backups(world)
    assert world.ok("backups", "verify", "--all-tenants")


@pytest.mark.fault(7, 46)
def test_a_file_of_an_unknown_run_stays(make_world: MakeWorld) -> None:
    """Another ledger's, or one from after the copy that this ledger was restored from: not ours to remove."""
    world = make_world("sqlite")
    ledger = world.root / "ledger.db"
    world.ok("migrate", "--all-tenants", "--to", "001")
    copy = ledger.read_bytes()
    assert world.run("migrate", "--all-tenants", failpoint="backup.after_rename").killed
    left = {path for path in _backups(world) - _recorded(world) if path.endswith(".db")}
    assert left
    for path in world.root.glob("ledger.db*"):
        path.unlink()
    ledger.write_bytes(copy)
    world.ok("migrate", "--all-tenants")
    assert left < _backups(world)


def _slow(make_world: MakeWorld, seconds: float) -> ServerWorld:
    """A world whose second migration takes its time, in a scratch database too."""
    quick = "CREATE TABLE {prefix}quick (x INT);\n-- migrate:down\nDROP TABLE {prefix}quick;\n"
    migrations = {"001_quick.sql": quick, "002_slow.sql": MADE_SLOWLY % seconds}
    world = make_world("mariadb", migrations=migrations)
    assert isinstance(world, ServerWorld)
    return world


def _scratch(world: ServerWorld) -> set[str]:
    """The scratch databases on the server."""
    names = {str(name) for (name,) in query(world.server, SCRATCH)}
    return {name for name in names if name.startswith(("ledger_scratch_", "ledger_rehearse_"))}


def _sleeping(world: ServerWorld, database: str) -> bool:
    """Whether the slow statement runs there."""
    return statements(world.server, (database,), "%SLEEP") != []


@pytest.mark.fault(8)
def test_the_scratch_database_of_a_killed_rehearsal_is_dropped(make_world: MakeWorld) -> None:
    """By the next run, whatever its tenants are; doctor names it until then."""
    world = _slow(make_world, 2)
    world.ok("migrate", "--all-tenants", "--to", "001")
    world.sql("whole", "CREATE DATABASE ledger_scratch_mine")
    try:
        running = world.start("rehearse", "--tenant", "whole")
        wait_for(lambda: any(_sleeping(world, name) for name in _scratch(world)), "the rehearsal")
        (used,) = _scratch(world) - {"ledger_scratch_mine"}
        assert used not in world.run("doctor", "--quick").out
        world.ok("rollback", "001", "--tenant", "p1", "-y")
        assert used in _scratch(world), "it is in use"
        running.send(signal.SIGKILL)
        assert running.wait().killed
        wait_for(lambda: not _sleeping(world, used), "its statement to end")
        assert used in world.run("doctor", "--quick").out
        world.ok("rollback", "001", "--tenant", "p2", "-y")
        assert _scratch(world) == {"ledger_scratch_mine"}, "what only looks like ours stays"
    finally:
        world.sql("whole", "DROP DATABASE ledger_scratch_mine")


@pytest.mark.fault(8)
def test_the_scratch_database_of_a_killed_settling_is_dropped(make_world: MakeWorld) -> None:
    """By the next run, also where the step is then settled by what it made of another tenant."""
    world = _slow(make_world, 2)
    only = ("migrate", "--tenant", "whole")
    world.ok("migrate", "--all-tenants", "--to", "001")
    assert world.run(*only, failpoint="engine.after_statement").killed
    running = world.start(*only)
    wait_for(lambda: any(_sleeping(world, name) for name in _scratch(world)), "the settling")
    (used,) = _scratch(world)
    world.ok("rollback", "001", "--tenant", "p1", "-y")
    assert _scratch(world) == {used}, "it is in use"
    running.send(signal.SIGKILL)
    assert running.wait().killed
    wait_for(lambda: not _sleeping(world, used), "its statement to end")
    world.ok("migrate", "--tenant", "p2")
    assert _scratch(world) == set()
    world.ok("migrate", "--all-tenants")
    world.check(None, ["001", "002"])
