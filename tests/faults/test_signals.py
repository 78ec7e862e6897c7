"""SIGINT and SIGTERM: the tenants in hand come to their end, nothing is held, the same command goes on."""

from __future__ import annotations

import signal

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import ServerWorld
from tests.programs import Ended, Program, wait_for

ALL = ("migrate", "--all-tenants")
SLOW = """\
-- step: Make
CREATE TABLE {prefix}slow (x INT, y INT);
-- step: Slowly
INSERT INTO {prefix}slow SELECT SLEEP(%s), 1;
-- step: Once only
UPDATE {prefix}slow SET y = y + 1;
"""
SLEEPING = "INSERT%SLEEP"


def begun(
    make_world: MakeWorld, *, seconds: float, one: bool = False
) -> tuple[ServerWorld, Program]:
    """A run of one tenant at a time (of `one` only) that stands in the slow statement of its first."""
    world = make_world(
        "mariadb", head="parallel = 1\n", migrations={"001_slow.sql": SLOW % seconds}
    )
    assert isinstance(world, ServerWorld)
    chosen = ("migrate", "--tenant", sorted(world.tenants)[0]) if one else ALL
    running = world.start(*chosen)
    wait_for(lambda: world.running(SLEEPING), "the statement to run")
    return world, running


def converges(world: ServerWorld) -> None:
    """The same command once more: every statement once, on every tenant."""
    world.ok(*ALL)
    world.check(None, ["001"])
    for tenant in world.tenants:
        prefix = world.place(tenant)[1]
        assert world.sql(tenant, f"SELECT x, y FROM {prefix}slow") == [(0, 2)]


@pytest.mark.fault("SIGINT")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_finishes_what_is_in_hand(
    number: signal.Signals, make_world: MakeWorld
) -> None:
    """The tenant at work is finished, the others are not begun; summary, and the command to go on."""
    world, running = begun(make_world, seconds=1.5)
    running.send(number)
    ended = running.wait()
    assert ended.code == 3, ended
    assert f"stopped by {number.name}" in ended.err + ended.out
    assert "1 migrated" in ended.out
    assert "To continue: ledger migrate --all-tenants" in ended.out + ended.err
    status = world.ok("status", "--format", "json").json()["tenants"]
    assert [row["lock"] for row in status] == [None, None, None]
    assert sorted(len(row["applied"]) for row in status) == [0, 0, 1]
    runs = world.ok("runs", "--format", "json").json()
    assert "interrupted" in str(runs)
    converges(world)


@pytest.mark.fault("SIGINT")
def test_a_signal_during_the_last_tenant(make_world: MakeWorld) -> None:
    """It comes to its end, and nothing is left to continue: the command has done what it was to do."""
    world, running = begun(make_world, seconds=1.5, one=True)
    running.send(signal.SIGINT)
    ended = running.wait()
    assert ended.code == 0, ended
    assert "stopped by SIGINT" in ended.err and "1 migrated" in ended.out
    assert "To continue" not in ended.out + ended.err
    assert world.ok("runs", "--format", "json").json()[-1]["state"] == "finished"


@pytest.mark.fault("SIGINT")
def test_the_second_signal_ends_it_at_once(make_world: MakeWorld) -> None:
    """As safe as kill -9: the next run takes over without waiting for a lease."""
    world, running = begun(make_world, seconds=6)
    running.send(signal.SIGINT)
    wait_for(lambda: "SIGINT" in running.err, "the first signal to be heard")
    running.send(signal.SIGINT)
    assert running.wait(3.0).code == 128 + signal.SIGINT
    converges(world)


@pytest.mark.slow
@pytest.mark.fault("SIGINT")
@pytest.mark.timeout(180)
def test_what_does_not_finish_in_time_is_ended(make_world: MakeWorld) -> None:
    """A statement that would take for ever is ended on the server; its claim is released."""
    world, running = begun(make_world, seconds=3000)
    running.send(signal.SIGTERM)
    ended = running.wait(90.0)
    assert ended.code == 3, ended
    wait_for(lambda: not world.running(SLEEPING), "the statement to end", 20.0)
    status = world.ok("status", "--format", "json").json()["tenants"]
    assert [row["lock"] for row in status] == [None, None, None]


def signalled(running: Program, number: signal.Signals, words: int) -> Ended:
    """Its end, once it has been signalled after so many characters of output."""
    wait_for(lambda: running.over or len(running.err) > words, "it to begin")
    running.send(number)
    return running.wait()


@pytest.mark.fault("SIGINT")
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment(kind: str, number: signal.Signals, make_world: MakeWorld) -> None:
    """Wherever it hits the run, also in its start and its end: no traceback, no claim left, converges."""
    world = make_world(kind)
    for turn in range(4):
        ended = signalled(world.start(*ALL), number, turn * 5)
        assert "Traceback" not in ended.err, ended
        # Before the run begins and after its end there is nothing to finish: the signal ends it.
        assert ended.code in (0, 1, 3, -number, 128 + number), ended
    world.ok(*ALL)
    world.check(None, ["001", "002", "003"])
