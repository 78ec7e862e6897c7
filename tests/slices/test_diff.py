"""`ledger diff`: what changed between two times, as `status --at` has it at both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger import Diff, FleetDiff, Ledger, UnknownTenantError, UsageError
from tests.fleet.test_then import moment
from tests.fleet.world import TAGS, Fleet
from tests.place import ENGINES, MakePlace


async def agrees(ledger: Ledger, found: FleetDiff) -> None:
    """Both sides are what `status` says of their times."""
    for at, seq, side in (
        (found.since, found.seq_since, "before"),
        (found.until, found.seq_until, "after"),
    ):
        status = await ledger.status(at=at)
        assert status.ledger.seq == seq
        rows = {
            (one.tenant, one.set): (one.version, one.state, one.applied) for one in status.tenants
        }
        for tenant in found.tenants:
            for one in getattr(tenant, side):
                assert rows[one.tenant, one.set] == (one.version, one.state, one.applied)
        assert {name for name, _ in rows} >= {
            one.tenant for one in found.tenants if getattr(one, side)
        }


async def test_tenants_come_go_and_change(tmp_path: Path) -> None:
    """By version and by tenant, with the runs; nothing changed is an empty answer."""
    fleet = Fleet(tmp_path, tenants=4)
    ledger = fleet.open()
    await ledger.migrate()
    first = await moment(ledger)
    fleet.write("002_tags.sql", TAGS)
    fleet.tenant("t3").unlink()
    fleet.run("t9", "CREATE TABLE mine (id)")
    run = await ledger.migrate(["t0", "t1", "t9"])
    await ledger.rollback("t1", to="001")
    second = await moment(ledger)
    await ledger.migrate()
    found = await ledger.run(Diff(since=first, until=second))
    assert isinstance(found, FleetDiff)
    assert [(one.tenant, one.change, one.applied, one.undone) for one in found.tenants] == [
        ("t0", "changed", ("migrations/002",), ()),
        ("t1", "changed", (), ()),
        ("t2", "changed", (), ()),
        ("t3", "went", (), ("migrations/001",)),
        ("t9", "came", ("migrations/001", "migrations/002"), ()),
    ]
    assert found.summary == {"same": 0, "changed": 3, "came": 1, "went": 1}
    one, two = found.versions
    assert (one.migration, one.before, one.after, one.came, one.went) == (
        "migrations/001",
        4,
        4,
        1,
        1,
    )
    assert (two.migration, two.before, two.after, two.applied, two.came) == (
        "migrations/002",
        0,
        2,
        1,
        1,
    )
    assert found.runs[-2].run == run.run and found.runs[-1].command == "rollback"
    await agrees(ledger, found)
    back = await ledger.diff(since=second)
    assert [one.tenant for one in back.tenants] == ["t1", "t2"]
    await agrees(ledger, back)
    only = await ledger.diff(since=first, until=second, tenants="t9")
    assert [one.change for one in only.tenants] == ["came"]
    none = await ledger.diff(since=back.until)
    assert (none.tenants, none.versions, none.runs) == ((), (), ())
    with pytest.raises(UsageError, match="no time between"):
        await ledger.diff(since=second, until=first)
    with pytest.raises(UnknownTenantError):
        await ledger.diff(since=first, until=second, tenants="nobody")


async def test_from_before_there_was_anything(tmp_path: Path) -> None:
    """Every tenant came."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    found = await fleet.open().diff(since="2001-01-01")
    assert (found.seq_since, found.summary["came"]) == (0, 2)
    assert [one.came for one in found.versions] == [2]


@pytest.mark.parametrize("engine", ENGINES)
def test_as_it_is_typed(make_audited: MakePlace, engine: str) -> None:
    """A table for a person, one document, a row for each tenant."""
    place = make_audited(engine)
    place.migration("001_m.sql", "CREATE TABLE notes (id INTEGER PRIMARY KEY);\n")
    place.ok("migrate", "--all-tenants")
    ends = ["history", "--type", "run_finished", "--format", "jsonl"]
    at = place.ok(*ends).lines()[-1]["at"]
    place.migration("002_m.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    place.ok("migrate", "--tenant", place.names[1])
    found: dict[str, Any] = place.ok("diff", "--from", at, "--format", "json").json()
    assert [(one["tenant"], one["change"], one["applied"]) for one in found["tenants"]][-1] == (
        place.names[1], "changed", ["app/002"],
    )  # fmt: skip
    shown = place.ok("diff", "--from", at).out
    assert "app/002" in shown and "1 run" in shown and "migrate by" in shown
    rows = place.ok("diff", "--from", at, "--format", "csv").out.splitlines()
    assert rows[0] == "tenant,change,before,after,applied,undone"
    assert place.ended("diff").code == 2
