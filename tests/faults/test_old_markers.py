"""Markers that earlier versions wrote into tenants: read, carried on from, and made short by the next migration.

`tests/golden/markers` holds the rows of such tables, written by version 0.1.0 before results were dropped:
after two migrations (`settled`), after the third one's end that no event speaks of (`committed`), and in the
middle of the third one's up steps (`in_part`) and of the second one's down steps (`undoing`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import World

MARKERS: Final = Path(__file__).parents[1] / "golden" / "markers"
KINDS: Final = ("sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql))
LOOKING: Final = (("status",), ("validate", "--all-tenants"))


class Moment(NamedTuple):
    """How to come to it: migrate to `before`, then the command, killed at the point of its database."""

    before: str
    command: tuple[str, ...] = ("migrate",)
    sqlite: str = ""
    server: str = ""
    versions: tuple[str, ...] = ("001", "002", "003")


SETTLED: Final = Moment("002")
MOMENTS: Final = {
    "committed": Moment("001", sqlite="runner.before_record", server="runner.before_record"),
    "in_part": Moment("002", sqlite="engine.after_marker:2", server="engine.after_commit:3"),
    "undoing": Moment(
        "003",
        ("rollback", "--to", "001", "-y"),
        sqlite="engine.after_marker:2",
        server="engine.after_statement:3",
        versions=("001",),
    ),
}


def old_tenants(world: World, kind: str, moment: str, how: Moment) -> tuple[str, ...]:
    """Bring tenants to the moment, and their markers into the form of then; their names."""
    world.ok("migrate", "--all-tenants", "--to", how.before)
    tenants = ("a",) if kind == "sqlite" else ("whole", "p1")
    for tenant in tenants:
        if point := how.sqlite if kind == "sqlite" else how.server:
            command, *more = how.command
            assert world.run(command, "--tenant", tenant, *more, failpoint=point).killed
        put_old_marker(world, kind, tenant, moment)
    return tenants


def put_old_marker(world: World, kind: str, tenant: str, moment: str) -> None:
    """Replace the rows of a tenant's marker by those of the golden file."""
    before = marker(world, kind, tenant)
    ledger = before[""][2] if kind == "sqlite" else json.loads(before[""][5])["ledger"]
    suffix = "_prefix" if tenant == "p1" else ""
    text = (MARKERS / f"{kind}_{moment}{suffix}.sql").read_text()
    table = table_of(tenant)
    rows = text.replace("{marker}", table).replace("{ledger}", ledger).splitlines()
    if kind != "sqlite":
        rows = [row.replace("\\n", "\\\\n").replace('\\"', '\\\\"') for row in rows]
    world.sql(tenant, f"DELETE FROM {table}", *rows)
    after = marker(world, kind, tenant)
    assert [(row[0], row[1]) for row in before.values()] == [
        (row[0], row[1]) for row in after.values()
    ]


def table_of(tenant: str) -> str:
    """The marker's name."""
    return "p1_ledger_marker" if tenant == "p1" else "ledger_marker"


def marker(world: World, kind: str, tenant: str) -> dict[str, tuple[Any, ...]]:
    """Its rows by their ids."""
    rows = world.sql(tenant, f"SELECT * FROM {table_of(tenant)} ORDER BY id")
    return {str(row[0]): row for row in rows}


def stored(kind: str, row: tuple[Any, ...]) -> dict[str, Any]:
    """What a row says beside its number of steps and so on: the reference, and the results."""
    if kind == "sqlite":
        entry: dict[str, Any] = json.loads(row[2])
        return entry
    return {"ref": json.loads(row[5]), **json.loads(row[6] or "{}")}


def is_short(kind: str, row: tuple[Any, ...]) -> bool:
    """Whether the row of an applied migration has neither results nor a hash twice."""
    entry = stored(kind, row)
    left = {"steps", "checks", "measured", "connection"} & entry.keys()
    return not left and entry["ref"]["parts"] == [["file", ""]] and "sources" not in entry["ref"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_an_older_version_is_carried_on_from(
    kind: str, moment: str, make_world: MakeWorld
) -> None:
    """What a killed run of it has left converges: to what a tenant has that it never touched."""
    world, how = make_world(kind), MOMENTS[moment]
    old = old_tenants(world, kind, moment, how)
    command, *more = how.command
    world.ok(command, "--all-tenants", *more)
    world.check(None, how.versions)
    state = world.state()
    assert all(state[tenant] == state["b" if kind == "sqlite" else "p2"] for tenant in old)
    for tenant in old:
        *settled, last = [row for name, row in marker(world, kind, tenant).items() if name]
        assert all(is_short(kind, row) for row in settled)
        assert stored(kind, last)["ref"].get("version") == how.versions[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_settled_is_shortened_by_the_next_migration(
    kind: str, make_world: MakeWorld
) -> None:
    """Commands that only look leave old entries as they are; the next migration takes the results away."""
    world = make_world(kind)
    old = old_tenants(world, kind, "settled", SETTLED)
    before = [marker(world, kind, tenant) for tenant in old]
    for command in LOOKING:
        world.run(*command)
    assert [marker(world, kind, tenant) for tenant in old] == before
    world.ok("migrate", "--all-tenants")
    for tenant in old:
        _, first, second, third = marker(world, kind, tenant).values()
        assert is_short(kind, first) and is_short(kind, second)
        assert stored(kind, third)["steps"]
        assert len(str(first)) < 330, first
    world.check(None, ("001", "002", "003"))
    world.ok("rollback", "--all-tenants", "--to", "001", "-y")
    world.check(None, ("001",))
