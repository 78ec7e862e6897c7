"""What a killed run has left beside the tenants is gone after the next one, and nothing else is."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import World


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
