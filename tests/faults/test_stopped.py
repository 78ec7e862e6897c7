"""A process that is stopped (SIGSTOP) where it holds a lock: the others say who it is, and go on after it."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.faults.conftest import MakeWorld, worlds
from tests.faults.world import SqliteWorld
from tests.programs import Program, wait_for

ALL = ("migrate", "--all-tenants")


def stopped(make_world: MakeWorld, point: str) -> tuple[SqliteWorld, Program]:
    """A world in which one run stands at a failpoint, alone in its process."""
    world = make_world("sqlite", head="parallel = 1\n[timeouts]\nlock_seconds = 1\n")
    assert isinstance(world, SqliteWorld)
    running = world.start(*ALL, failpoint=point, stops=True)
    wait_for(lambda: running.stopped, "it to stop there")
    return world, running


def test_before_begin_nothing_is_locked(make_world: MakeWorld) -> None:
    """The failpoint stands before the lock, and stops the thread that reaches it, not another."""
    for turn in range(1, 4):
        world, running = stopped(make_world, f"engine.before_begin:{turn}")
        for path in (world.root / "ledger.db", world.file("a"), world.file("b")):
            with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        running.send(signal.SIGCONT)
        assert running.wait().code == 0


@pytest.mark.fault(10)
def test_who_holds_a_tenant_is_named(make_world: MakeWorld) -> None:
    """Another program's transaction on a tenant: its process is in the message, and what to do.

    A claim whose holder cannot be fenced in the file stays as it is, and the holder may go on.
    """
    world, running = stopped(make_world, "engine.in_transaction")
    ended = world.run("migrate", "--tenant", "b")
    assert ended.code == 0, "other tenants go on"
    ended = world.run("unlock", "--tenant", "a", "--reason", "it hangs", "-y")
    assert ended.code == 3, ended
    assert f"process {running.pid} (" in ended.out and "stopped" in ended.out, ended
    assert "kill -CONT" in ended.out
    assert "the claim was not ended" in ended.out, ended
    assert world.history("a", "--type", "lock_cleared") == []
    running.send(signal.SIGCONT)
    assert running.wait().code == 0
    world.ok(*ALL)
    world.check(None, ["001", "002", "003"])


@pytest.mark.slow
@pytest.mark.fault(10)
def test_who_holds_the_ledger_is_named(make_world: MakeWorld) -> None:
    """Stopped inside a transaction of the ledger, it keeps all others out: they say who, and how to go on."""
    world, running = stopped(make_world, "store.before_commit:2")
    ended = world.run(*ALL)
    assert ended.code == 1, ended
    assert f"process {running.pid} (" in ended.err and "stopped" in ended.err, ended
    assert "kill -CONT" in ended.err
    running.send(signal.SIGCONT)
    assert running.wait().code == 0
    world.ok(*ALL)
    world.check(None, ["001", "002", "003"])


def test_no_stopped_process_outlives_its_test(
    tmp_path: Path, request: pytest.FixtureRequest, make_database: MakeDatabase
) -> None:
    """The fixture itself: a test that fails while a run is stopped, or at work, leaves no process."""
    with pytest.raises(ZeroDivisionError), worlds(tmp_path, request, make_database) as make:
        _, first = stopped(make, "engine.in_transaction")
        world, second = stopped(make, "store.before_commit:2")
        third = world.start(*ALL)
        _ = 1 / 0
    for running in (first, second, third):
        assert running.over
        assert not Path(f"/proc/{running.pid}").exists()
