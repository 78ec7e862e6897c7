"""Calls on tenants that are named: what they ask for, what they record, and what they still refuse."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import events as ev
from ledger.api import Ledger
from ledger.errors import ChainBrokenError, ConfigError, UnknownTenantError
from ledger.fleet import state
from ledger.fleet.progress import Progress
from tests.cli.test_cli_mysql import address
from tests.conftest import MakeDatabase
from tests.fleet.test_then import moment, states
from tests.fleet.world import TAGS, Fleet
from tests.servers import Server, query


def stored(fleet: Fleet) -> tuple[int, int]:
    """The seqs at which the ledger and its stored projections stand."""
    with closing(sqlite3.connect(fleet.root / "ledger.db")) as database:
        ((head,),) = database.execute("SELECT seq FROM head").fetchall()
        found = database.execute("SELECT value FROM meta WHERE key LIKE 'projection_seq:%'")
        return head, int(next(found, (0,))[0])


async def test_neither_the_other_tenants_nor_their_state_are_read(tmp_path: Path) -> None:
    """A state that cannot be read and a repeated name stop only who asks for them."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.execute("UPDATE projections SET state = x'00' WHERE key = 'tenant/t1'")
        database.commit()
    with pytest.raises(ChainBrokenError):
        await fleet.open().status()
    (tmp_path / "more").mkdir()
    for place in ("data", "more"):
        (tmp_path / place / "twice.db").touch()
    source = '[[tenants]]\nsqlite = "more/*.db"\n'
    fleet.config.write_text(fleet.config.read_text() + source)
    with pytest.raises(ConfigError, match="two tenants are named 'twice'"):
        await fleet.open().status("twice")
    ledger = fleet.open()
    assert states(await ledger.status("t0")) == {"t0": ("current", ())}
    assert (await ledger.plan("t0")).tenants[0].migrations == ()
    assert (await ledger.validate("t0")).exit_code == 0
    assert [row.tenant async for row in ledger.history("t0", limit=1)] == ["t0"]
    assert [one.name for one in await ledger.tenants("t0")] == ["t0"]
    assert (await ledger.migrate("t0")).summary == {"current": 1}
    assert (await ledger.rollback("t0")).summary == {"rolled_back": 1}
    assert (await ledger.migrate(["t0"])).summary == {"migrated": 1}


async def test_a_tenant_that_came_by_its_name_was_there_then(tmp_path: Path) -> None:
    """Recorded by itself, once, with what it follows; the next record of all has it too."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.tenant("t5").touch()
    await fleet.open().migrate("t5")
    await fleet.open().migrate("t5")
    then = await moment(fleet.open())
    fleet.tenant("t5").unlink()
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    seen = [row.data async for row in fleet.open().history(type="fleet_seen")]
    found = [
        (one.came, one.gone, one.tenants, one.partial)
        for one in seen
        if isinstance(one, ev.FleetSeen)
    ]
    assert found == [((), (), 2, False), (("t5",), (), 1, True), ((), ("t5",), 2, False)]
    assert states(await fleet.open().status(at=then)) == dict.fromkeys(
        ("t0", "t1", "t5"), ("current", ())
    )
    report = await fleet.open().verify()
    assert (report.sound, report.problems) == (True, ())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.execute("DROP TRIGGER scripts_refuse_delete")
        follows = seen[1].follows[0]  # type: ignore[union-attr]
        database.execute("DELETE FROM scripts WHERE sha256 = ?", (follows,))
        database.commit()
    assert [one.sha256 for one in (await fleet.open().verify()).bad_texts] == [follows]


async def test_a_call_on_one_tenant_records_new_files_for_all_that_follow_them(
    tmp_path: Path,
) -> None:
    """The folder is others' too: what is pending there from then on is known."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate("t0")
    then = await moment(fleet.open())
    await fleet.open().migrate()
    assert states(await fleet.open().status(at=then))["t1"] == ("pending", ("002",))


@pytest.mark.parametrize("hard", [True, False])
async def test_one_file_under_two_names_is_refused_by_either_source(
    hard: bool, tmp_path: Path
) -> None:
    """A link is no second tenant, nor is a file that a second source finds under another name."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    other = fleet.tenant("other")
    other.hardlink_to(fleet.tenant("t0")) if hard else other.symlink_to(fleet.tenant("t0"))
    with pytest.raises(ConfigError, match="are one database"):
        await fleet.open().migrate("other")
    other.unlink()
    more = '[[tenants]]\nsqlite = "data/*.db"\nname = "again-{name}"\n'
    fleet.config.write_text(fleet.config.read_text() + more)
    for name in ("t0", "again-t0"):
        with pytest.raises(ConfigError, match="are one database"):
            await fleet.open().migrate(name)


@pytest.mark.parametrize("pattern", ["data/*", "data/t?.*", "*/*.db", "**/t[0-9].db"])
async def test_a_file_is_found_by_its_name_whatever_the_pattern(
    pattern: str, tmp_path: Path
) -> None:
    """By a template for names, too; one that is not there is named with what is near."""
    fleet = Fleet(tmp_path, tenants=2)
    text = fleet.config.read_text().replace('"data/*.db"', f'"{pattern}"\nname = "x-{{name}}"')
    fleet.config.write_text(text)
    await fleet.open().migrate()
    assert set(states(await fleet.open().status(["x-t0", "x-t1"]))) == {"x-t0", "x-t1"}
    with pytest.raises(UnknownTenantError, match="no tenant matches 'x-t9'") as error:
        await fleet.open().status(["x-t0", "x-t9"])
    assert "Did you mean x-t" in error.value.hint
    with pytest.raises(UnknownTenantError):
        await fleet.open().status("t0")


async def test_a_query_and_a_path_by_name(tmp_path: Path) -> None:
    """A query's rows are read once; a row of another name is none of ours, whatever it says."""
    fleet = Fleet(tmp_path, tenants=2)
    control = tmp_path / "control.db"
    with closing(sqlite3.connect(control)) as database:
        database.execute("CREATE TABLE tenants (name, url)")
        rows = [("a", "sqlite:///data/t0.db"), ("b", "not a url")]
        database.executemany("INSERT INTO tenants VALUES (?, ?)", rows)
        database.commit()
    head = fleet.config.read_text().partition("[[tenants]]")[0]
    query = '[[tenants]]\nquery = "SELECT name, url FROM tenants"\nurl = "sqlite:///control.db"\n'
    path = '[[tenants]]\nsqlite = "data/t1.db"\n'
    fleet.config.write_text(head + query + path)
    assert set(states(await fleet.open().status("a"))) == {"a"}
    assert set(states(await fleet.open().status("t1"))) == {"t1"}


class Watching(Progress):
    """Notes where the projections stand whenever a tenant is done."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.seen: list[int] = []

    def tenant_finished(self, name: str, result: str, detail: str, seconds: float) -> None:
        self.seen.append(stored(self.fleet)[1])


async def test_projections_are_stored_while_a_run_lasts_and_by_runs_on_single_tenants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a kill leaves a short tail; what is stored is what a replay gives. A look stores nothing."""
    monkeypatch.setattr(state, "STORE_EVENTS", 20)
    monkeypatch.setattr(state, "LOOK_SECONDS", 0.001)
    fleet = Fleet(tmp_path, tenants=12)
    watching = Watching(fleet)
    await Ledger.open(fleet.config, progress=watching).migrate(parallel=1)
    assert 0 < watching.seen[-1] < stored(fleet)[0] == stored(fleet)[1]
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate("t1")
    head = stored(fleet)[0]
    await fleet.open().migrate("t2")
    await fleet.open().status()
    assert stored(fleet)[1] == head < stored(fleet)[0]
    monkeypatch.setattr(state, "TAIL_EVENTS", 1)
    await fleet.open().migrate("t3")
    await fleet.open().migrate("t4")
    assert head + 20 <= stored(fleet)[1] <= stored(fleet)[0]
    await fleet.open().migrate()
    assert stored(fleet)[0] == stored(fleet)[1]
    assert (await fleet.open().verify()).problems == ()
    runs = await fleet.open().runs()
    assert [one.tenants for one in runs] == [12, 1, 1, 1, 1, 8]
    assert await fleet.open().runs(limit=2) == runs[-2:]


async def test_databases_and_prefixes_by_name(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """A LIKE pattern holds for a name too; a prefix knows the longer ones that begin like it."""
    names = [make_database(sql_server, "named") for _ in range(2)]
    other = make_database(sql_server, "other")
    (tmp_path / "migrations").mkdir()
    table = "CREATE TABLE {prefix}notes (id INT PRIMARY KEY);\n"
    (tmp_path / "migrations" / "001_notes.sql").write_text(table)
    password = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""

    def configured(database: str, lines: str) -> Ledger:
        config = tmp_path / "ledger.toml"
        url = address(sql_server, database) if database else address(sql_server, "")
        config.write_text(
            f'migrations = "migrations"\n[[tenants]]\nmysql = "{url}"\n{password}{lines}\n'
        )
        return Ledger.open(config)

    ledger = configured("", 'databases = "named%"\nprefix = ""')
    found = [one.name for one in await ledger.tenants(names)]
    assert found == sorted(names)
    assert [one.name for one in await ledger.tenants(names[0])] == names[:1]
    for bad in (other, names[0].upper(), "named'"):
        with pytest.raises(UnknownTenantError):
            await ledger.tenants(bad)
    site = configured(names[0], 'prefixes = ["wp_", "x_", "wp_2_"]')
    await site.migrate()
    assert [one.neighbours for one in await site.tenants(["wp"])] == [("wp_2_",)]
    assert [one.name for one in await site.tenants(["wp_2"])] == ["wp_2"]
    tables = query(sql_server, "SHOW TABLES LIKE '%notes'", database=names[0])
    assert len(tables) == 3
