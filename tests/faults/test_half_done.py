"""A rollback or a restore that was killed, and then another command: nobody calls such a tenant current."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import World

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
