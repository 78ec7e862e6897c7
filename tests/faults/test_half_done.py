"""A rollback or a restore that was killed, and then another command: nobody calls such a tenant current."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import State, World

SHORT = "lease_seconds = 1\nparallel = 1\n"
ALL = ("migrate", "--all-tenants")
KINDS = ["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]
SERVERS = KINDS[1:]
MORE = "CREATE TABLE {prefix}more (x INT);\n"


def row(world: World, tenant: str) -> dict[str, object]:
    """The tenant's line of `status`, which does not ask the tenant."""
    rows = world.ok("status", "--format", "json").json()["tenants"]
    return next(one for one in rows if one["tenant"] == tenant)


def killed(world: World, *arguments: str, failpoint: str, tenant: str) -> None:
    """Kill the command there; once its lease is over `status` names it."""
    assert world.run(*arguments, "--tenant", tenant, "-y", failpoint=failpoint).killed
    assert row(world, tenant)["state"] in ("running", "failed")
    while row(world, tenant)["lock"] is not None:
        pass
    found = row(world, tenant)
    assert found["state"] == "failed"
    assert f"the {arguments[0]} by" in str(found["error"])


@pytest.mark.fault(8)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [False, True], ids=["nothing pending", "one pending"])
def test_a_rollback_in_its_middle_is_not_called_current(
    kind: str, more: bool, make_world: MakeWorld
) -> None:
    """Some of its down steps have landed: `migrate` refuses that tenant alone, and says what goes on with it."""
    world = make_world(kind, head=SHORT)
    world.ok(*ALL)
    tenant = world.tenants[-1]
    point = "engine.after_marker" if kind == "sqlite" else "engine.after_statement"
    killed(world, "rollback", "003", failpoint=point, tenant=tenant)
    if more:
        (world.root / "migrations" / "004_more.sql").write_text(MORE)
    ended = world.run(*ALL)
    assert ended.code == 3, ended
    assert f"1 tenant of {len(world.tenants)} failed" in ended.err + ended.out
    assert "the rollback of migrations/003 stands in its middle" in ended.err
    found = row(world, tenant)
    assert (found["state"], found["lock"]) == ("failed", None)
    if more:
        (world.root / "migrations" / "004_more.sql").unlink()
        world.ok("rollback", "004", *[f"--tenant={one}" for one in world.tenants[:-1]], "-y")
    world.ok("rollback", "003", "--tenant", tenant, "-y")
    assert row(world, tenant)["state"] == "pending"
    world.ok(*ALL)
    world.check_ledger(["001", "002", "003"])


@pytest.mark.fault(8)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_restore_in_its_middle_is_not_called_current(kind: str, make_world: MakeWorld) -> None:
    """Everything is dropped, and a part is back: only the restore goes on with it."""
    world = make_world(kind, head=SHORT)
    world.ok("migrate", "--all-tenants", "--to", "001")
    world.ok(*ALL)
    killed(world, "restore", failpoint="restore.half_written", tenant="whole")
    ended = world.run(*ALL)
    assert ended.code == 3, ended
    assert "a restore was interrupted" in ended.err
    assert row(world, "whole")["state"] == "failed"
    world.ok("restore", "--tenant", "whole", "-y")
    world.ok(*ALL)
    world.check_ledger(["001", "002", "003"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_that_left_nothing_is_over_once_a_run_has_looked(
    kind: str, make_world: MakeWorld
) -> None:
    """It failed, and changed nothing: the next migrate finds all there, and so does `status`."""
    fails = "CREATE TABLE {prefix}a (x INT);\n-- migrate:down\nDROP TABLE {prefix}missing;\n"
    world = make_world(kind, migrations={"001_a.sql": fails})
    world.ok(*ALL)
    tenant = world.tenants[-1]
    assert world.run("rollback", "001", "--tenant", tenant, "-y").code == 3
    assert row(world, tenant)["state"] == "failed"
    world.ok(*ALL)
    assert (row(world, tenant)["state"], row(world, tenant)["error"]) == ("current", None)
    world.ok("verify")
    world.check_nothing_to_do()


def contents(state: State) -> dict[str, dict[str, Any]]:
    """The rows of every table: a definition that was dumped and read back may be worded otherwise."""
    return {
        tenant: {name: rows for name, (_, rows) in tables.items()}
        for tenant, tables in state.items()
    }


@pytest.mark.fault(53)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("back", ["file", "undo"])
def test_killed_in_its_middle_and_then_without_its_file(
    kind: str, back: str, make_world: MakeWorld
) -> None:
    """No end was recorded: the tenant is called failed, not current, until it is undone or goes on."""
    world = make_world(kind, head=SHORT)
    world.ok("migrate", "--all-tenants", "--to", "002")
    before, tenant = world.state(), world.tenants[-1]
    file = world.root / "migrations" / "003_log.sql"
    text = file.read_text()
    point = "engine.after_marker" if kind == "sqlite" else "engine.after_statement"
    assert world.run("migrate", "--tenant", tenant, failpoint=point).killed
    file.unlink()
    while row(world, tenant)["lock"] is not None:
        pass
    assert row(world, tenant)["state"] == "failed"
    ended = world.run(*ALL)
    assert ended.code == 3, ended
    assert "no file describes it any more" in ended.err + ended.out
    assert row(world, tenant)["state"] == "failed"
    if back == "undo":
        world.ok("rollback", "--tenant", tenant, "-y")
        assert contents(world.state()) == contents(before)
        assert row(world, tenant)["state"] == "current"
    file.write_text(text)
    world.ok(*ALL)
    world.check_ledger(["001", "002", "003"])
    world.check_nothing_to_do()


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_after_a_claim_that_left_nothing_undoes_nothing(
    kind: str, make_world: MakeWorld
) -> None:
    """What was begun last is what it means: it is looked at, and nothing of it is there."""
    world = make_world(kind, head=SHORT)
    world.ok("migrate", "--all-tenants", "--to", "002")
    before, tenant = world.state(), world.tenants[-1]
    assert world.run("migrate", "--tenant", tenant, failpoint="runner.after_claim").killed
    while row(world, tenant)["lock"] is not None:
        pass
    planned = world.ok("rollback", "--tenant", tenant, "--dry-run", "--format", "json").json()
    assert [one["id"] for one in planned["tenants"][0]["migrations"]] == ["migrations/003"]
    ended = world.ok("rollback", "--tenant", tenant, "-y", "--format", "json").json()
    assert [one["result"] for one in ended["outcomes"]] == ["current"]
    assert world.state() == before
    assert row(world, tenant)["state"] == "pending"
    world.ok(*ALL)
    world.check_ledger(["001", "002", "003"])


@pytest.mark.fault(8)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", ["up", "half", "down"])
def test_what_was_found_there_outlives_a_kill(kind: str, stop: str, make_world: MakeWorld) -> None:
    """Its down step is left out by the run that goes on, and where up was killed after it had found it."""
    migrations = {
        "001_found.sql": "CREATE TABLE {prefix}found (id INT);\nINSERT INTO {prefix}found VALUES (1);\n",
        "002_both.sql": "-- migrate:up transaction:false\n"
        "CREATE TABLE IF NOT EXISTS {prefix}found (id INT);\nCREATE TABLE {prefix}own (id INT);\n"
        "CREATE TABLE IF NOT EXISTS {prefix}own (id INT);\n"
        "-- migrate:down transaction:false\nDROP TABLE {prefix}own;\nDROP TABLE {prefix}found;\n",
    }
    world = make_world(kind, head=SHORT, migrations=migrations)
    world.ok("migrate", "--all-tenants", "--to", "001")
    before, tenant = contents(world.state()), world.tenants[-1]
    point = "engine.after_marker" if kind == "sqlite" else "engine.after_statement"
    if stop != "down":
        assert world.run("migrate", "--tenant", tenant, failpoint=point).killed
        while row(world, tenant)["lock"] is not None:
            pass
    if stop == "half":
        world.ok("rollback", "--tenant", tenant, "-y")
        assert contents(world.state()) == before
    world.ok(*ALL)
    if stop == "down":
        killed(world, "rollback", "002", failpoint=point, tenant=tenant)
    world.ok("rollback", "002", "--all-tenants", "-y")
    assert contents(world.state()) == before
    world.ok("validate")


@pytest.mark.fault(8)
@pytest.mark.parametrize("kind", SERVERS)
def test_what_was_dropped_or_added_before_a_kill_is_made_again(
    kind: str, make_world: MakeWorld
) -> None:
    """The run that goes on repeats such statements, and finds so what the first one has done."""
    adds = "ALTER TABLE {prefix}kept ADD COLUMN IF NOT EXISTS a INT;\n" if kind == "mariadb" else ""
    migrations = {
        "001_gone.sql": "CREATE TABLE {prefix}gone (id INT);\nCREATE TABLE {prefix}kept (id INT);\n",
        "002_both.sql": f"DROP TABLE IF EXISTS {{prefix}}gone;\n{adds}"
        "INSERT INTO {prefix}kept (id) VALUES (7);\n"
        "-- migrate:down\nDELETE FROM {prefix}kept;\n"
        + "ALTER TABLE {prefix}kept DROP a;\n" * bool(adds)
        + "CREATE TABLE {prefix}gone (id INT);\n",
    }
    world = make_world(kind, head=SHORT, migrations=migrations)
    world.ok("migrate", "--all-tenants", "--to", "001")
    before, tenant = contents(world.state()), world.tenants[-1]
    assert world.run("migrate", "--tenant", tenant, failpoint="engine.before_begin").killed
    while row(world, tenant)["lock"] is not None:
        pass
    world.ok(*ALL)
    world.ok("rollback", "002", "--all-tenants", "-y")
    assert contents(world.state()) == before
