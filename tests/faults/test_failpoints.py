"""SIGKILL at every failpoint, in every command that changes tenants: the same command again converges."""

from __future__ import annotations

from typing import Final

import pytest
from _pytest.mark.structures import ParameterSet

from ledger.failpoints import POINTS
from tests.faults.conftest import MakeWorld
from tests.faults.world import State, World

COMMANDS: Final = {
    "migrate": ("migrate", "--all-tenants"),
    "rollback": ("rollback", "--all-tenants", "--to", "001", "-y"),
    "restore": ("restore", "--all-tenants", "-y"),
}
VERSIONS: Final = {"migrate": ["001", "002", "003"], "rollback": ["001"], "restore": ["001"]}

OF_BACKUPS: Final = frozenset(point for point in POINTS if point.startswith("backup."))
OF_RESTORES: Final = frozenset(point for point in POINTS if point.startswith("restore."))
OF_STEPS: Final = frozenset(point for point in POINTS if point.startswith("engine.")) | {
    "runner.before_record"
}
OF_INTENTS: Final = frozenset({"engine.after_intent"})
NEVER: Final = {
    ("sqlite", "migrate"): OF_RESTORES | OF_INTENTS,
    ("sqlite", "rollback"): OF_RESTORES | OF_INTENTS,
    ("sqlite", "restore"): OF_BACKUPS | OF_STEPS,
    ("mariadb", "migrate"): OF_RESTORES,
    ("mariadb", "rollback"): OF_RESTORES,
    ("mariadb", "restore"): OF_BACKUPS | OF_STEPS,
    ("mysql", "migrate"): OF_RESTORES,
    ("mysql", "rollback"): OF_RESTORES,
    ("mysql", "restore"): OF_BACKUPS | OF_STEPS,
}
"""Points that a command does not come by; held to that by a test."""


def case(*words: str) -> ParameterSet:
    """Those of a real MySQL are in a job of their own."""
    return pytest.param(*words, marks=[pytest.mark.mysql] if words[0] == "mysql" else [])


CASES: Final = [case(*words) for words in NEVER]
WALK: Final = [
    case(kind, command, point)
    for (kind, command), never in NEVER.items()
    for point in POINTS
    if point not in never
]

_undisturbed: dict[tuple[str, str], State] = {}


def prepare(kind: str, command: str, make_world: MakeWorld) -> World:
    """A world just before the command; a restore goes back to the backup before 002."""
    world = make_world(kind)
    if command == "restore":
        world.ok("migrate", "--all-tenants", "--to", "001")
    if command != "migrate":
        world.ok("migrate", "--all-tenants")
    return world


def undisturbed(kind: str, command: str, make_world: MakeWorld) -> State:
    """What the command leaves behind when nothing happens to it."""
    if (kind, command) not in _undisturbed:
        world = prepare(kind, command, make_world)
        world.ok(*COMMANDS[command])
        world.check_ledger(VERSIONS[command])
        _undisturbed[kind, command] = world.state()
    return _undisturbed[kind, command]


@pytest.mark.parametrize(("kind", "command"), CASES)
def test_every_point_is_come_by_or_known_not_to_be(
    kind: str, command: str, make_world: MakeWorld
) -> None:
    """No point of the walk below is one that the command never reaches, and none is left out."""
    world = prepare(kind, command, make_world)
    points = world.root / "points"
    world.ok(*COMMANDS[command], trace=str(points))
    assert set(points.read_text().split()) == set(POINTS) - NEVER[kind, command]


@pytest.mark.fault(1, 2, 3, 4, 6, 7)
@pytest.mark.parametrize(("kind", "command", "point"), WALK)
def test_killed_anywhere_simply_run_it_again(
    kind: str, command: str, point: str, make_world: MakeWorld
) -> None:
    """kill -9 at the point, then the same command: as if nothing had happened, nothing twice, nothing held."""
    expected = undisturbed(kind, command, make_world)
    world = prepare(kind, command, make_world)
    assert world.run(*COMMANDS[command], failpoint=point).killed
    world.ok(*COMMANDS[command])
    world.check(expected, VERSIONS[command])
    if command == "migrate":
        world.check_nothing_to_do()


@pytest.mark.fault(8)
@pytest.mark.parametrize(("kind", "command"), CASES)
def test_killed_in_recovery_again_and_again(kind: str, command: str, make_world: MakeWorld) -> None:
    """The re-run is killed too, at each point that it still comes by in turn; the last one converges."""
    expected = undisturbed(kind, command, make_world)
    world = prepare(kind, command, make_world)
    points = [point for point in POINTS if point not in NEVER[kind, command]]
    kills = 0
    for point in points:
        kills += world.run(*COMMANDS[command], failpoint=point).killed
    assert kills >= 3
    world.ok(*COMMANDS[command])
    world.check(expected, VERSIONS[command])


@pytest.mark.fault(1, 4)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_the_newest_one_is_taken_back_once(kind: str, make_world: MakeWorld) -> None:
    """`rollback` without a version, killed twice: typed again it goes on, and takes nobody back by two."""
    world = make_world(kind, head="parallel = 1\n")
    world.ok("migrate", "--all-tenants")
    bare = ("rollback", "--all-tenants", "-y")
    assert world.run(*bare, failpoint="runner.after_record").killed
    assert world.run(*bare, failpoint="runner.before_record").killed
    world.ok(*bare)
    world.check(None, ["001", "002"])
    world.ok(*bare)
    world.check(None, ["001"])


@pytest.mark.fault(4, 6)
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("sqlite", "engine.after_commit"),
        ("sqlite", "runner.before_record"),
        ("mariadb", "engine.after_commit"),
        ("mariadb", "engine.after_statement"),
        ("mariadb", "engine.after_marker"),
        ("mariadb", "runner.before_record"),
    ],
)
def test_a_backup_from_before_a_migration_has_nothing_of_it(
    kind: str, point: str, make_world: MakeWorld
) -> None:
    """The re-run of a migration that was cut short takes none in its middle; going back by backup goes back."""
    world = make_world(kind)
    world.ok("migrate", "--all-tenants", "--to", "001")
    before = world.state()
    assert world.run(*COMMANDS["migrate"], failpoint=point).killed
    world.ok(*COMMANDS["migrate"])
    world.ok("rollback", "--all-tenants", "--to", "001", "--by", "backup", "-y")
    world.check(before, ["001"])
