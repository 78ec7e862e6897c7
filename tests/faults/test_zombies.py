"""Runners that are stopped, suspended, or whose clocks are wrong: a zombie writes nothing."""

from __future__ import annotations

import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import FIRST, ServerWorld, State, World
from tests.programs import Program, wait_for
from tests.servers import connect

ALL = ("migrate", "--all-tenants")
VERSIONS = ["001", "002", "003"]
LEASE = "lease_seconds = 1\n"
SHORT = f"{LEASE}parallel = 1\n"
"""One tenant at a time: a process that is stopped must not hold another one's transaction open."""
DAY = 86_400.0
MYSQL = pytest.param("mysql", marks=pytest.mark.mysql)
KINDS = ["sqlite", "mariadb", MYSQL]

_expected: dict[str, State] = {}


def expected(kind: str, make_world: MakeWorld) -> State:
    """An undisturbed fleet."""
    if kind not in _expected:
        world = make_world(kind)
        world.ok(*ALL)
        _expected[kind] = world.state()
    return _expected[kind]


def stopped_at(world: World, point: str, *arguments: str, broken: str = "") -> Program:
    """A run that stands still at the point."""
    running = world.start(*(arguments or ALL), failpoint=point, stops=True, broken=broken)
    wait_for(lambda: running.stopped, f"the run to stop at {point}")
    only_its_lease_is_short(world)
    return running


def only_its_lease_is_short(world: World) -> None:
    """What others claim from now on they keep, however slow the machine is."""
    config = world.root / "ledger.toml"
    config.write_text(config.read_text().replace(LEASE, ""))


@contextmanager
def gate(
    make_world: MakeWorld, kind: str, head: str = ""
) -> Iterator[tuple[ServerWorld, ExitStack]]:
    """A world whose statement waits until it is ended, or, once the stack is closed, not at all."""
    name = f"gate-{secrets.token_hex(6)}"
    slow = f"CREATE TABLE {{prefix}}slow AS SELECT SLEEP(IF(IS_FREE_LOCK('{name}'), 0, 50)) AS x;\n"
    world = make_world(
        kind, head=head, migrations={"001_slow.sql": slow + "-- migrate:down\nSELECT 1;\n"}
    )
    assert isinstance(world, ServerWorld)
    with ExitStack() as shut:
        cursor = shut.enter_context(shut.enter_context(connect(world.server)).cursor())
        cursor.execute(f"SELECT GET_LOCK('{name}', 5)")
        yield world, shut


def let_go(running: Program) -> None:
    """Let a zombie go on, to its end. It says that it was refused, or that others did the work."""
    running.send(signal.SIGCONT)
    ended = running.wait()
    assert ended.code in (0, 3), ended
    assert "unexpected" not in ended.err + ended.out


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("sqlite", "runner.after_claim"),
        ("sqlite", "engine.after_commit"),
        ("sqlite", "runner.before_record"),
        ("mariadb", "runner.after_claim"),
        ("mariadb", "engine.before_begin"),
        ("mariadb", "engine.after_intent"),
        ("mariadb", "engine.after_statement"),
        ("mariadb", "engine.after_marker"),
        ("mariadb", "runner.before_record"),
        pytest.param("mysql", "runner.after_claim", marks=pytest.mark.mysql),
        pytest.param("mysql", "engine.after_intent", marks=pytest.mark.mysql),
        pytest.param("mysql", "engine.after_statement", marks=pytest.mark.mysql),
        pytest.param("mysql", "runner.before_record", marks=pytest.mark.mysql),
    ],
)
def test_a_run_stopped_past_its_lease_is_refused(
    kind: str, point: str, make_world: MakeWorld
) -> None:
    """Another host takes over when the lease has run out; the zombie applies nothing any more."""
    world = make_world(kind, head=SHORT)
    zombie = stopped_at(world, point)
    world.ok(*ALL, host="elsewhere")
    state = world.state()
    assert state == expected(kind, make_world)
    let_go(zombie)
    world.check(state, VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(10)
@pytest.mark.parametrize("kind", ["mariadb", MYSQL])
def test_a_run_stopped_in_the_ledgers_transaction_holds_up_nobody_for_long(
    kind: str, make_world: MakeWorld
) -> None:
    """It has the head row's lock: MariaDB ends its idle transaction while the others still wait, on
    MySQL the others do."""
    world = make_world(kind)
    zombie = stopped_at(world, "store.before_commit")
    world.ok(*ALL, host="elsewhere")
    state = world.state()
    assert state == expected(kind, make_world)
    let_go(zombie)
    world.check(state, VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(10)
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_fence_keeps_a_zombie_from_what_was_rolled_back(
    kind: str, make_world: MakeWorld
) -> None:
    """Its migration was applied and undone meanwhile: to the marker it is pending again, to the fence not.

    Its first step is one of rows, before which nothing is written to the ledger. Without the
    fence that zombie writes: test_guards.py.
    """
    world, zombie = rolled_back_under_a_zombie(kind, make_world)
    state = world.state()
    let_go(zombie)
    assert world.state() == state
    world.check(state, ["001"])


def rolled_back_under_a_zombie(
    kind: str, make_world: MakeWorld, *, broken: str = ""
) -> tuple[World, Program]:
    """A run that stands still after its claim, while others apply its migration and take it back."""
    rows = "UPDATE {prefix}notes SET seen = seen + 1;\n-- migrate:down\nUPDATE {prefix}notes SET seen = seen + 10;\n"
    migrations = {"001_notes.sql": FIRST, "002_rows.sql": rows}
    world = make_world(kind, head=SHORT + 'backup = "never"\n', migrations=migrations)
    world.ok("migrate", "--all-tenants", "--to", "001")
    only = ("migrate", "--tenant", world.tenants[0])
    zombie = stopped_at(world, "runner.after_claim", *only, broken=broken)
    world.ok(*ALL, host="elsewhere")
    world.ok("rollback", "--all-tenants", "--to", "001", "-y", host="elsewhere")
    return world, zombie


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", ["mariadb", MYSQL])
def test_a_run_stopped_in_a_statement_is_refused(kind: str, make_world: MakeWorld) -> None:
    """Its session holds the tenant's lock: it is ended on the server before anything else runs."""
    with gate(make_world, kind, SHORT) as (world, shut):
        zombie = world.start("migrate", "--tenant", "whole")
        wait_for(lambda: world.running("CREATE%SLEEP"), "the statement to run")
        zombie.send(signal.SIGSTOP)
        only_its_lease_is_short(world)
        shut.close()
        world.ok("migrate", "--tenant", "whole", host="elsewhere")
        let_go(zombie)
    assert world.sql("whole", "SELECT count(*) FROM slow") == [(1,)]
    world.ok("migrate", "--all-tenants")
    world.check(None, ["001"])


@pytest.mark.fault(12)
def test_a_clock_a_day_ahead_takes_over_but_never_twice(make_world: MakeWorld) -> None:
    """To it every lease is over; the living holder is fenced in the tenants themselves."""
    world = make_world("sqlite", head="parallel = 1\n")
    holder = stopped_at(world, "runner.after_claim")
    world.ok(*ALL, clock_seconds=DAY)
    let_go(holder)
    world.check(expected("sqlite", make_world), VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(12)
def test_a_clock_a_day_behind_waits_and_goes_on(make_world: MakeWorld) -> None:
    """To it every lease is far from over; a holder that is gone from this host is not waited for."""
    world = make_world("sqlite", head="parallel = 1\n")
    holder = stopped_at(world, "runner.after_claim")
    waiting = world.start(*ALL, clock_seconds=-DAY)
    wait_for(lambda: "waiting for" in waiting.err, "it to wait")
    holder.send(signal.SIGKILL)
    assert waiting.wait().code == 0
    world.check(expected("sqlite", make_world), VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(13)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_a_suspended_machine_stops_its_own_run(kind: str, make_world: MakeWorld) -> None:
    """It wakes an hour later: no new claim, and no new statement of a claim that may be another's."""
    world = make_world(kind, head="parallel = 1\n")
    slept = world.run(*ALL, failpoint="runner.after_record", suspended_seconds=3600.0)
    assert slept.code == 3, slept
    assert "lease ran out" in slept.out
    world.ok(*ALL)
    world.check(expected(kind, make_world), VERSIONS)


@pytest.mark.fault(31)
@pytest.mark.parametrize("kind", KINDS)
def test_two_hosts_start_the_same_run(kind: str, make_world: MakeWorld) -> None:
    """Every migration runs on every tenant once; both hosts end well."""
    world = make_world(kind)
    both = [world.start(*ALL, host=host) for host in ("left", "right")]
    for one in both:
        ended = one.wait()
        assert ended.code == 0, ended
    done = Counter(
        (event["tenant"], event["body"]["migration"]["version"])
        for event in world.history("--type", "completed")
    )
    assert set(done.values()) == {1}
    world.check(expected(kind, make_world), VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(10)
@pytest.mark.parametrize("kind", KINDS)
def test_unlock_fences_the_old_holder_too(kind: str, make_world: MakeWorld) -> None:
    """A person ends the claim of a run that lives: that run cannot write to the tenant any more.

    An unlock that was killed behind the fence has recorded nothing, and is simply typed again.
    """
    # One at a time: who is stopped must not hold the ledger's lock for another of its tenants.
    world = make_world(kind, head="parallel = 1\n")
    holder = stopped_at(world, "runner.after_claim")
    claimed = [
        row["tenant"]
        for row in world.ok("status", "--format", "json").json()["tenants"]
        if row["lock"]
    ]
    unlock = ("unlock", "--all-tenants", "--reason", "it hangs", "-y")
    assert world.run(*unlock, failpoint="runner.before_record").killed
    assert world.history("--type", "lock_cleared") == []
    world.ok(*unlock)
    assert {one["tenant"] for one in world.history("--type", "lock_cleared")} == {*claimed}
    let_go(holder)
    for tenant in claimed:
        done = world.history(tenant, "--type", "completed")
        assert done == [], tenant
    world.ok(*ALL)
    world.check(expected(kind, make_world), VERSIONS)


@pytest.mark.fault(10)
@pytest.mark.parametrize("kind", ["mariadb", MYSQL])
def test_unlock_ends_the_claim_of_a_run_at_work(kind: str, make_world: MakeWorld) -> None:
    """Its statement is ended on the server, whoever then records the end first: it is ended once."""
    with gate(make_world, kind) as (world, _):
        holder = world.start("migrate", "--tenant", "whole")
        wait_for(lambda: world.running("CREATE%SLEEP"), "the statement to run")
        world.ok("unlock", "--tenant", "whole", "--reason", "too slow", "-y")
        assert world.running("CREATE%SLEEP") == []
        assert holder.wait().code == 3
    ends = [one for one in world.history("whole") if one["type"] in ("lock_cleared", "failed")]
    assert len(ends) == 1
    world.ok("migrate", "--all-tenants")
    world.check(None, ["001"])
