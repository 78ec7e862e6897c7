"""`status --at`: the tenants and the migrations of then, and what a run recorded of its plan."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ledger import events as ev
from ledger.api import Ledger
from ledger.api.status import Status
from ledger.errors import UnknownTenantError
from ledger.stores import open_store
from tests.fleet.world import TAGS, Fleet
from tests.place import WITH_MYSQL, MakePlace


def states(status: Status) -> dict[str, tuple[str, tuple[str, ...]]]:
    """State and pending by tenant."""
    return {row.tenant: (row.state, row.pending) for row in status.tenants}


async def moment(ledger: Ledger) -> str:
    """Just after the last event there is: by the next one, a harmless one."""
    await ledger.validate(["t0"])
    (last,) = [row.at async for row in ledger.history(limit=1)]
    return last


async def kept(fleet: Fleet, sha256: str) -> dict[str, object]:
    """A kept text's JSON."""
    async with open_store(fleet.open().config.url) as store:
        text = await store.script(sha256)
    assert text is not None
    found: dict[str, object] = msgspec.json.decode(text)
    return found


async def test_what_was_current_is_current_whatever_came_since(tmp_path: Path) -> None:
    """A later file is not pending, a later tenant not listed, and a deleted one still there."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    then = await moment(fleet.open())
    fleet.write("002_tags.sql", TAGS)
    fleet.tenant("t1").unlink()
    fleet.run("t9", "CREATE TABLE mine (id)")
    await fleet.open().migrate()
    later = await moment(fleet.open())
    (fleet.migrations / "002_tags.sql").unlink()
    for path in (tmp_path / "data").glob("*.db"):
        path.unlink()
    ledger = fleet.open()
    before = await ledger.status(at=then)
    assert states(before) == {"t0": ("current", ()), "t1": ("current", ())}
    assert (before.basis, before.gone) == ("recorded", ())
    after = await ledger.status(at=later)
    assert states(after) == {"t0": ("current", ()), "t9": ("current", ())}
    assert after.gone == ("t1",)
    assert {row.version for row in after.tenants} == {"002"}
    assert states(await ledger.status(["t1"], at=then)) == {"t1": ("current", ())}
    with pytest.raises(UnknownTenantError, match="no tenant 't9' then"):
        await ledger.status(["t9"], at=then)
    assert before.ledger.seq < after.ledger.seq
    assert before.ledger.hash != after.ledger.hash


async def test_what_was_pending_is_pending_though_its_file_is_gone(tmp_path: Path) -> None:
    """Between two runs, one of which was for one tenant only."""
    fleet = Fleet(tmp_path, tenants=3)
    await fleet.open().migrate()
    path = fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate(["t0"])
    then = await moment(fleet.open())
    await fleet.open().rollback(["t0"])
    path.unlink()
    await fleet.open().migrate()
    assert states(await fleet.open().status(at=then)) == {
        "t0": ("current", ()),
        "t1": ("pending", ("002",)),
        "t2": ("pending", ("002",)),
    }
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate(["t*"])
    assert set(states(await fleet.open().status()).values()) == {("current", ())}


async def test_whether_late_versions_were_applied_then(tmp_path: Path) -> None:
    """By the configuration of then, and not by today's, which refuses them."""
    fleet = Fleet(tmp_path, tenants=2, extra='out-of-order = "apply"')
    fleet.write("003_tags.sql", TAGS)
    await fleet.open().migrate()
    fleet.write("002_late.sql", "CREATE TABLE late (id INTEGER);\n")
    await fleet.open().migrate(["t0"])
    then = await moment(fleet.open())
    fleet.config.write_text(fleet.config.read_text().replace('out-of-order = "apply"', ""))
    assert states(await fleet.open().status(at=then))["t1"] == ("pending", ("002",))


async def test_coming_and_going_is_recorded_also_where_nothing_is_to_do(tmp_path: Path) -> None:
    """Once, by name; the same again records nothing."""
    fleet = Fleet(tmp_path, tenants=3)
    await fleet.open().migrate()
    fleet.tenant("t1").unlink()
    assert (await fleet.open().migrate()).run == ""
    assert (await fleet.open().migrate()).run == ""
    seen = [row.data async for row in fleet.open().history(type="fleet_seen")]
    assert [one.tenants for one in seen if isinstance(one, ev.FleetSeen)] == [3, 2]
    last = seen[-1]
    assert isinstance(last, ev.FleetSeen)
    assert (last.came, last.gone) == ((), ("t1",))
    assert last.previous == seen[0].fleet  # type: ignore[union-attr]
    assert (await fleet.open().verify()).sound


async def test_tenants_of_a_source_that_does_not_answer_are_not_gone(tmp_path: Path) -> None:
    """Nothing is recorded of who came and went."""
    fleet = Fleet(tmp_path, tenants=2)
    control = tmp_path / "control.db"
    with closing(sqlite3.connect(control)) as database:
        database.execute("CREATE TABLE tenants AS SELECT 'x' AS name, 'sqlite:///x.db' AS url")
        database.commit()
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        database.execute("CREATE TABLE mine (id)")
    query = '[[tenants]]\nquery = "SELECT name, url FROM tenants"\nurl = "sqlite:///control.db"\n'
    fleet.config.write_text(fleet.config.read_text() + query)
    await fleet.open().migrate()
    control.unlink()
    fleet.write("002_tags.sql", TAGS)
    assert (await fleet.open().migrate()).summary == {"migrated": 2, "unreachable": 1}
    seen = [row.data async for row in fleet.open().history(type="fleet_seen")]
    assert [(one.tenants, one.gone) for one in seen if isinstance(one, ev.FleetSeen)] == [(3, ())]


async def test_a_run_records_its_plan_and_equal_plans_once(tmp_path: Path) -> None:
    """Tenants in order, the migrations with their hashes, the options."""
    fleet = Fleet(tmp_path, tenants=2)
    first = await fleet.open().migrate(to="001")
    await fleet.open().rollback()
    again = await fleet.open().migrate(to="001")
    started = {row.run: row.data async for row in fleet.open().history(type="run_started")}
    plans = [one.plan for one in started.values() if isinstance(one, ev.RunStarted)]
    assert plans[0] == plans[2] != plans[1]
    assert [one.plan for one in await fleet.open().runs()] == plans
    plan = await kept(fleet, plans[0])
    assert plan["tenants"] == [["t0", 0], ["t1", 0]]
    assert (plan["command"], plan["target"]) == ("migrate", "001")
    work = plan["work"]
    assert isinstance(work, list)
    assert [(one["version"], len(one["checksum"])) for one in work[0]] == [("001", 64)]
    undone = (await kept(fleet, plans[1]))["work"]
    assert isinstance(undone, list)
    assert [one["version"] for one in undone[0]] == ["001"]
    assert {first.run, again.run} <= set(started)


async def test_a_fleet_that_no_run_recorded_is_answered_by_what_has_events(tmp_path: Path) -> None:
    """Before the first record there is no other knowledge, and the answer says so."""
    fleet = Fleet(tmp_path, tenants=2)
    early = "2020-01-01T00:00:00Z"
    await fleet.open().migrate()
    status = await fleet.open().status(at=early)
    assert (status.tenants, status.basis, status.ledger.seq) == ((), "today", 0)


async def test_two_configurations_with_one_ledger_do_not_take_each_others_tenants_for_gone(
    tmp_path: Path,
) -> None:
    """Each has its own scope."""
    fleet = Fleet(tmp_path, tenants=2)
    other = tmp_path / "other.toml"
    other.write_text(fleet.config.read_text().replace("data/*.db", "data/t1.db"))
    await fleet.open().migrate()
    await Ledger.open(other).migrate()
    await fleet.open().migrate()
    then = await moment(fleet.open())
    seen = [row.data async for row in fleet.open().history(type="fleet_seen")]
    assert [one.gone for one in seen if isinstance(one, ev.FleetSeen)] == [(), ()]
    assert set(states(await fleet.open().status(at=then))) == {"t0", "t1"}
    assert set(states(await Ledger.open(other).status(at=then))) == {"t1"}


@pytest.mark.parametrize("engine", WITH_MYSQL)
def test_on_a_server_too(engine: str, tmp_path: Path, make_place: MakePlace) -> None:
    """The command line says by what it answers, and asks no server."""
    place = make_place(engine)
    place.migration("001_first.sql", "CREATE TABLE notes (id INTEGER PRIMARY KEY);\n")
    place.ok("migrate", "--all-tenants")
    place.ok("validate")
    then = place.events(place.names[0])[-1]["at"]
    place.migration("002_second.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    place.ok("migrate", "--all-tenants")
    config = tmp_path / "ledger.toml"
    config.write_text(re.sub(r"(mysql://[^/]*):[0-9]+/", r"\1:1/", config.read_text()))
    found = place.ok("status", "--at", then, "--format", "json").json()
    assert found["basis"] == "recorded"
    assert [(row["state"], row["pending"]) for row in found["tenants"]] == [("current", [])] * 2


async def test_a_tenant_that_was_not_chosen_keeps_its_own_migrations(tmp_path: Path) -> None:
    """As they were when a run last chose it; of one that came since only what it has applied is known."""
    fleet = Fleet(tmp_path, tenants=1)
    others = [tmp_path / "others" / f"{name}.db" for name in ("o1", "o2")]
    for folder in ("others", "its_own"):
        (tmp_path / folder).mkdir()
    for version in ("001", "002"):
        path = tmp_path / "its_own" / f"{version}_own.sql"
        path.write_text(f"CREATE TABLE own_{version} (id INTEGER);\n")
    fleet.config.write_text(
        fleet.config.read_text() + '[[tenants]]\nsqlite = "others/*.db"\nmigrations = "its_own"\n'
    )
    others[0].touch()
    await fleet.open().migrate(to="001")
    others[1].touch()
    fleet.run("t9", "CREATE TABLE mine (id)")
    await fleet.open().migrate(["t*"])
    then = await moment(fleet.open())
    (tmp_path / "its_own" / "002_own.sql").unlink()
    await fleet.open().migrate()
    found = await fleet.open().status(at=then)
    assert [(row.tenant, row.set, row.pending) for row in found.tenants] == [
        ("o1", "its_own", ("002",)),
        ("t0", "migrations", ()),
        ("t9", "migrations", ()),
    ]
