"""A run that was killed has an end too: `runs` says what became of it, `status` that nobody is at work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from ledger.calls.runs import run_word
from ledger.projections import RunState
from ledger.runner.holder import this_holder
from tests.faults.conftest import MakeWorld
from tests.faults.world import World
from tests.fleet.world import Fleet

ALL = ("migrate", "--all-tenants")
KINDS = ["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]


def runs(world: World) -> list[dict[str, Any]]:
    """`runs`, oldest first."""
    found: list[dict[str, Any]] = world.ok("runs", "--format", "json").json()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["migrate", "rollback", "restore", "reset"])
def test_a_killed_run_is_abandoned_with_what_it_had_done(
    kind: str, command: str, make_world: MakeWorld
) -> None:
    """Also after the same command was typed again; `status` does not wait for its lease."""
    world = make_world(kind, head="parallel = 1\n")
    if command != "migrate":
        world.ok("migrate", "--all-tenants", "--to", "002")
    arguments: dict[str, tuple[str, ...]] = {
        "migrate": ALL,
        "rollback": ("rollback", "--all-tenants", "-y"),
        "restore": ("restore", "--all-tenants", "-y"),
        "reset": ("reset", "--all-tenants", "--to", "0", "-y"),
    }
    point = "runner.after_claim" if command == "restore" else "engine.before_marker"
    assert world.run(*arguments[command], failpoint=point).killed
    states = {row["state"] for row in world.ok("status", "--format", "json").json()["tenants"]}
    assert "running" not in states
    killed = runs(world)[-1]
    assert (killed["state"], killed["command"]) == ("abandoned", command)
    assert killed["outcomes"] == {"interrupted": 1, "not_run": len(world.tenants) - 1}
    assert killed["finished_at"] >= killed["started_at"]
    world.ok(*arguments[command])
    again = runs(world)
    assert [one["state"] for one in again[-2:]] == ["abandoned", "finished"]
    assert again[-2] == killed
    assert "abandoned" in world.ok("runs").out


DONE_FIRST = {
    "migrate": ("migrated", ("migrate", "--all-tenants", "--to", "001"), "engine.before_marker:2"),
    "rollback": ("rolled_back", ("rollback", "--all-tenants", "-y"), "engine.before_marker:2"),
    "restore": ("restored", ("restore", "--all-tenants", "-y"), "runner.after_claim:2"),
    "reset": ("rolled_back", ("reset", "--all-tenants", "--to", "0", "-y"), "engine.before_marker:3"),
}  # fmt: skip


@pytest.mark.parametrize("command", DONE_FIRST)
def test_a_killed_run_whose_first_tenant_was_done(command: str, make_world: MakeWorld) -> None:
    """It is counted as what it is; typed again, the command takes it no further."""
    done, arguments, point = DONE_FIRST[command]
    world = make_world("sqlite", head="parallel = 1\n")
    if command != "migrate":
        world.ok("migrate", "--all-tenants", "--to", "002")
    assert world.run(*arguments, failpoint=point).killed
    left = {"not_run": len(world.tenants) - 2} if len(world.tenants) > 2 else {}
    (killed, *_) = reversed(runs(world))
    assert killed["outcomes"] == {done: 1, "interrupted": 1, **left}
    world.ok(*arguments)
    rows = world.ok("status", "--format", "json").json()["tenants"]
    applied = {"migrate": ["001"], "rollback": ["001"], "restore": [], "reset": []}[command]
    assert [row["applied"] for row in rows] == [applied] * len(world.tenants)


def test_a_run_that_was_killed_since_was_at_work_then(make_world: MakeWorld) -> None:
    """`status --at` goes by the lease of then, and not by the processes of today."""
    world = make_world("sqlite", head="parallel = 1\n")
    assert world.run(*ALL, failpoint="runner.after_claim").killed
    events = world.ok("history", "--type", "started", "--format", "jsonl").lines()
    then = datetime.fromisoformat(events[-1]["at"]) + timedelta(seconds=1)
    rows = world.ok("status", "--at", then.isoformat(), "--format", "json").json()["tenants"]
    assert [row["state"] for row in rows].count("running") == 1
    (lock,) = [row["lock"] for row in rows if row["lock"]]
    assert lock["run"] == events[-1]["run"]
    rows = world.ok("status", "--format", "json").json()["tenants"]
    assert [row["lock"] for row in rows if row["lock"]] == []


def test_a_run_lives_as_long_as_its_process_or_its_lease() -> None:
    """On this host the process tells, elsewhere the lease by the ledger's clock."""
    now = datetime.now(UTC)
    elsewhere = RunState(
        run="R",
        holder=this_holder().__class__(host="elsewhere", boot="b", pid=1, started=1, nonce="n"),
        renewed_at=now.isoformat(),
        lease_seconds=60,
    )
    assert run_word(elsewhere, now=now + timedelta(seconds=59)) == "running"
    assert run_word(elsewhere, now=now + timedelta(seconds=61)) == "abandoned"
    here = RunState(run="S", holder=this_holder(), renewed_at=now.isoformat(), lease_seconds=60)
    assert run_word(here, now=now) == "abandoned"
    ended = RunState(run="T", finished_at=now.isoformat(), outcomes={"migrated": 1})
    assert run_word(ended, now=now) == "finished"
    ended.outcomes = {"migrated": 1, "not_run": 2}
    assert run_word(ended, now=now) == "stopped"


async def test_a_cancelled_call_records_its_end(tmp_path: Any) -> None:
    """A program may end a call from outside: the run has an end, and says that it was cut short."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write(
        "002_slow.sql",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)\n"
        "SELECT count(*) FROM n;\n",
    )
    await fleet.open().migrate(to="001")
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.open().migrate)
        while (await fleet.open().status()).tenants[0].lock is None:
            await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    (_, run) = await fleet.open().runs()
    assert (run.state, run.interrupted, run.outcomes) == ("stopped", True, {"failed": 1})
