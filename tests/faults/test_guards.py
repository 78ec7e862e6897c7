"""Every guard of broken.py: what it prevents does not happen with it, and happens without.

A scene is played twice, by commands that have the guard and by commands that run without it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final, NamedTuple

import pytest
from _pytest.mark.structures import ParameterSet

from tests.faults.broken import GUARDS
from tests.faults.conftest import MakeWorld
from tests.faults.proxy import Proxy, proxy
from tests.faults.test_zombies import expected, rolled_back_under_a_zombie, stopped_at
from tests.faults.world import FIRST, ServerWorld, World
from tests.servers import Server

ALL = ("migrate", "--all-tenants")
THREE: Final = """\
CREATE TABLE {prefix}first_one (id INTEGER PRIMARY KEY);
CREATE TABLE {prefix}second_one (id INTEGER PRIMARY KEY);
CREATE TABLE {prefix}third_one (id INTEGER PRIMARY KEY);
-- migrate:down
DROP TABLE {prefix}third_one;
DROP TABLE {prefix}second_one;
DROP TABLE {prefix}first_one;
"""

Between = Callable[[str], Proxy]
Scene = Callable[[str, MakeWorld, Between, str], bool]
"""Kind of database, worlds, proxies, the guard to run without ("" for none); whether harm was done."""


@pytest.fixture
def between(request: pytest.FixtureRequest) -> Iterator[Between]:
    """`between(kind)`: a proxy before the server that `make_world(kind)` uses."""
    with ExitStack() as stack:

        def make(kind: str) -> Proxy:
            server: Server = request.getfixturevalue("own_mariadb" if kind == "mariadb" else kind)
            return stack.enter_context(proxy(server.url.port))

        yield make


def landed_unrecorded(point: str) -> Scene:
    """Killed when a step has landed and nobody has written it down: it must not run again."""

    def scene(kind: str, make_world: MakeWorld, between: Between, broken: str) -> bool:
        world = make_world(kind)
        world.ok("migrate", "--all-tenants", "--to", "001")
        assert world.run(*ALL, failpoint=point).killed
        ended = world.run(*ALL, broken=broken)
        return ended.code != 0 or world.state() != expected(kind, make_world)

    return scene


def zombie_after_a_rollback(
    kind: str, make_world: MakeWorld, between: Between, broken: str
) -> bool:
    """A run goes on after its migration was applied by others and undone: it must change nothing."""
    world, zombie = rolled_back_under_a_zombie(kind, make_world, broken=broken)
    before = world.state()
    zombie.send(signal.SIGCONT)
    zombie.wait()
    return world.state() != before


def zombie_without_server_locks(
    kind: str, make_world: MakeWorld, between: Between, broken: str
) -> bool:
    """The same where nothing can end its session, and it has just made the first of three tables."""
    world = without_server_locks(kind, make_world, between)
    # How the first table looks afterwards is known from here: the successor has no scratch database.
    world.ok("migrate", "--tenant", "p1")
    zombie = stopped_at(
        world, "engine.after_statement", "migrate", "--tenant", "whole", broken=broken
    )
    world.ok("unlock", "--tenant", "whole", "--reason", "it hangs", "-y")
    world.ok("migrate", "--tenant", "whole")
    world.ok("rollback", "--tenant", "whole", "--to", "001", "-y")
    before = world.state()
    zombie.send(signal.SIGCONT)
    ended = zombie.wait()
    assert ended.code == 3, ended
    return world.state() != before


def without_server_locks(kind: str, make_world: MakeWorld, between: Between) -> World:
    """Tenants at 001, three tables before them, on a server that knows no function GET_LOCK."""
    there = between(kind)
    there.instead[b"GET_LOCK("] = b"GET_LACK("
    world = make_world(
        kind,
        port=there.port,
        local_ledger=True,
        head='parallel = 1\nbackup = "never"\n',
        migrations={"001_notes.sql": FIRST, "002_three.sql": THREE},
    )
    assert isinstance(world, ServerWorld)
    world.ok("migrate", "--all-tenants", "--to", "001")
    return world


class Guard(NamedTuple):
    """A guard's scene, the databases on which it is played, and the row that it belongs to."""

    scene: Scene
    kinds: tuple[str, ...]
    row: int


SCENES: Final[Mapping[str, Guard]] = {
    "settle": Guard(landed_unrecorded("engine.after_statement"), ("mariadb", "mysql"), 6),
    "entry": Guard(landed_unrecorded("engine.after_commit"), ("sqlite",), 4),
    "fence": Guard(zombie_after_a_rollback, ("sqlite", "mariadb", "mysql"), 10),
    "locked": Guard(zombie_without_server_locks, ("mariadb", "mysql"), 10),
}


def case(guard: str, kind: str) -> ParameterSet:
    """Those of a real MySQL are in a job of their own."""
    marks = [pytest.mark.fault(SCENES[guard].row)]
    return pytest.param(guard, kind, marks=marks + [pytest.mark.mysql] * (kind == "mysql"))


CASES: Final = [case(guard, kind) for guard in GUARDS for kind in SCENES[guard].kinds]


@pytest.mark.parametrize(("guard", "kind"), CASES)
def test_no_harm_with_it(guard: str, kind: str, make_world: MakeWorld, between: Between) -> None:
    """The scene ends well."""
    assert not SCENES[guard].scene(kind, make_world, between, "")


@pytest.mark.parametrize(("guard", "kind"), CASES)
def test_harm_without_it(guard: str, kind: str, make_world: MakeWorld, between: Between) -> None:
    """The negative control: the very same scene does not."""
    assert SCENES[guard].scene(kind, make_world, between, guard)


@pytest.mark.parametrize("kind", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def test_without_server_locks_each_statement_is_announced_by_itself(
    kind: str, make_world: MakeWorld, between: Between
) -> None:
    """Where they are, one intent does for all three."""
    locked = make_world(kind, migrations={"001_notes.sql": FIRST, "002_three.sql": THREE})
    unlocked = without_server_locks(kind, make_world, between)
    intents = []
    for world in (locked, unlocked):
        world.ok(*ALL)
        events = world.history("whole", "--type", "step_started")
        intents.append([one["body"]["step"] for one in events if one["body"]["version"] == "002"])
    assert intents == [[1], [1, 2, 3]]
    unlocked.check(None, ["001", "002"])
