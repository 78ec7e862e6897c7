"""Drift: what the migrations define is the measure, before and after every command."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.fleet.world import Fleet

REWRITTEN = """\
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, more TEXT)'
    WHERE name = 'notes';
PRAGMA writable_schema = OFF;
"""
REWRITTEN_BY_PYTHON = """\
async def up(tenant):
    await tenant.execute("PRAGMA writable_schema = ON")
    await tenant.execute(
        "UPDATE sqlite_master SET sql = replace(sql, 'text TEXT', 'text TEXT NOT NULL')"
        " WHERE name = 'notes'"
    )
"""


def dump_of_fts5() -> str:
    """What the client's `.dump` writes of an FTS5 table: its row of sqlite_master, then the shadow tables."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE found USING fts5(body)")
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE name <> 'found'")
        tables = "".join(f"{sql};\n" for _, sql in rows.fetchall())
    return (
        "PRAGMA writable_schema=ON;\n"
        "INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql)"
        "VALUES('table','found','found',0,'CREATE VIRTUAL TABLE found USING fts5(body)');\n"
        f"{tables}PRAGMA writable_schema=OFF;\n"
    )


@pytest.mark.parametrize("transaction", ["", "-- migrate:up transaction:false\n"])
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("text", [REWRITTEN, dump_of_fts5()], ids=["rewritten", "fts5"])
async def test_what_a_migration_wrote_into_the_schema_table_is_no_drift(
    tmp_path: Path, text: str, workers: int, transaction: str
) -> None:
    """SQLite does not read again what was written there: what is recorded is what a new connection sees."""
    fleet = Fleet(tmp_path, tenants=2, extra=f"workers = {workers}")
    fleet.write("002_schema.sql", transaction + text)
    assert (await fleet.open().migrate()).success
    report = await fleet.open().validate()
    assert report.valid
    assert len({one.recorded for one in report.findings}) == 1
    assert report.findings[0].recorded == report.findings[0].fingerprint


async def test_what_a_python_migration_wrote_into_the_schema_table_is_no_drift(
    tmp_path: Path,
) -> None:
    """As for files; which statements it runs is not known beforehand."""
    fleet = Fleet(tmp_path, tenants=1, extra="allow_python = true")
    fleet.write("002_schema.py", REWRITTEN_BY_PYTHON)
    assert (await fleet.open().migrate()).success
    report = await fleet.open().validate()
    assert report.valid
    assert report.findings[0].recorded == report.findings[0].fingerprint


async def findings(fleet: Fleet, name: str = "*") -> dict[str, list[tuple[str, str, str]]]:
    """What `validate` finds, by tenant."""
    report = await fleet.open().validate(name)
    assert not [one for one in report.findings if one.error]
    return {
        one.tenant: [(change.kind, change.name, change.how) for change in one.changes]
        for one in report.findings
    }


MISSING = [("index", "notes.notes_text", "missing")]
MORE = "CREATE TABLE more{} (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE more{};\n"


@pytest.mark.parametrize("workers", [0, 2])
async def test_drift_among_many_tenants_is_found_where_worker_processes_do_the_work(
    tmp_path: Path, workers: int
) -> None:
    """One that looks different goes another way than the others; two migrations at once keep its drift."""
    fleet = Fleet(tmp_path, tenants=12, extra=f"workers = {workers}")
    await fleet.open().migrate()
    fleet.run("t3", "DROP INDEX notes_text")
    fleet.write("002_more.sql", MORE.replace("{}", ""))
    fleet.write("003_more.sql", MORE.replace("{}", "3"))
    report = await fleet.open().migrate()
    assert report.success
    warned = {one.tenant: one.warnings for one in report.outcomes if one.warnings}
    assert list(warned) == ["t3"] and "notes.notes_text" in warned["t3"][0]
    found = await findings(fleet)
    assert found.pop("t3") == MISSING and not any(found.values())
    fleet.write("004_more.sql", MORE.replace("{}", "4"))
    assert (await fleet.open().migrate()).success
    found = await findings(fleet)
    assert found.pop("t3") == MISSING and not any(found.values())


PYTHON = """\
async def up(tenant):
    (count,) = (await tenant.fetch("SELECT count(*) FROM notes"))[0]
    await tenant.execute(f"CREATE TABLE notes_{count} (id INTEGER PRIMARY KEY)")
"""


async def test_drift_stays_where_no_scratch_database_can_say_what_should_be(tmp_path: Path) -> None:
    """Python, and definitions that depend on rows: each tenant's own change is no drift, the index is."""
    fleet = Fleet(tmp_path, tenants=3, extra="allow_python = true")
    await fleet.open().migrate()
    fleet.run("t1", "DROP INDEX notes_text; INSERT INTO notes (text) VALUES ('a');")
    fleet.write("002_count.py", PYTHON)
    fleet.write(
        "003_guarded.sql",
        "-- skip-if: sql: SELECT count(*) = 0 FROM notes\nALTER TABLE notes ADD COLUMN used TEXT;\n",
    )
    assert (await fleet.open().migrate()).success
    assert await findings(fleet) == {"t0": [], "t1": MISSING, "t2": []}
    fleet.run("t1", "CREATE INDEX notes_text ON notes(text)")
    assert await findings(fleet) == {"t0": [], "t1": [], "t2": []}


async def test_a_drift_that_the_migration_ends_is_over(tmp_path: Path) -> None:
    """It makes the missing index itself, drops the table by hand, or the table that has drifted."""
    fleet = Fleet(tmp_path, tenants=3)
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text")
    fleet.run("t1", "CREATE TABLE stray (x)")
    fleet.write(
        "002_mend.sql",
        "CREATE INDEX IF NOT EXISTS notes_text ON notes(text);\nDROP TABLE IF EXISTS stray;\n",
    )
    assert (await fleet.open().migrate()).success
    assert not any((await findings(fleet)).values())
    fleet.run("t2", "ALTER TABLE notes ADD COLUMN extra TEXT")
    fleet.write("003_gone.sql", "DROP TABLE notes;\n")
    assert (await fleet.open().migrate()).success
    report = await fleet.open().validate()
    assert not any(one.changes for one in report.findings)


async def test_rows_of_earlier_migrations_are_not_made_again(tmp_path: Path) -> None:
    """What should be is found without them, also where they come from what was there before."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.run("t0", "CREATE TABLE mine (n); INSERT INTO mine VALUES (1);")
    fleet.write("002_rows.sql", "CREATE TABLE sink (n);\nINSERT INTO sink SELECT n FROM mine;\n")
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text; CREATE TABLE late (n)")
    fleet.write("003_late.sql", "CREATE TABLE IF NOT EXISTS late (n);\n")
    assert (await fleet.open().migrate()).success
    assert await findings(fleet) == {"t0": MISSING}


async def test_a_rebuilt_table_has_what_its_migration_gives_it(tmp_path: Path) -> None:
    """An index that was dropped by hand, and that goes with the rebuild, is not missing after it."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text")
    fleet.write(
        "002_rebuild.sql",
        "CREATE TABLE new_notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL DEFAULT '');\n"
        "INSERT INTO new_notes SELECT id, text FROM notes;\nDROP TABLE notes;\n"
        "ALTER TABLE new_notes RENAME TO notes;\n",
    )
    assert (await fleet.open().migrate()).success
    assert await findings(fleet) == {"t0": [], "t1": []}


async def test_a_migration_that_failed_half_way_and_went_on_leaves_no_drift(tmp_path: Path) -> None:
    """What had landed of it is neither drift before it goes on, nor after; drift from before it is."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text")
    await fleet.open().validate()
    half = "-- migrate:up transaction:false\nCREATE TABLE half (x);\nINSERT INTO nope VALUES (1);\n"
    fleet.write("002_half.sql", half)
    assert not (await fleet.open().migrate()).success
    fleet.write("002_half.sql", half.replace("nope", "half"))
    report = await fleet.open().migrate()
    assert report.success
    assert not [text for one in report.outcomes for text in one.warnings if "half" in text]
    assert await findings(fleet) == {"t0": MISSING, "t1": []}


async def test_a_tenant_that_was_out_of_reach_keeps_its_drift(tmp_path: Path) -> None:
    """Its note is cleared when it is back; what it should be is not."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text")
    assert (await findings(fleet))["t0"] == MISSING
    file = fleet.tenant("t0")
    content = file.read_bytes()
    file.write_bytes(b"no database at all, but long enough to be looked at" * 10)
    assert not (await fleet.open().migrate()).success
    file.write_bytes(content)
    assert (await fleet.open().migrate()).success
    (row,) = (await fleet.open().status()).tenants
    assert row.state == "drifted"


async def test_a_migrate_with_nothing_pending_finds_drift_and_its_end(tmp_path: Path) -> None:
    """SQLite's schema cookie tells which tenants are worth a look."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text")
    report = await fleet.open().migrate()
    assert "notes.notes_text" in report.outcomes[0].warnings[0]
    (row,) = (await fleet.open().status("t0")).tenants
    assert row.state == "drifted"
    fleet.run("t0", "CREATE INDEX notes_text ON notes(text)")
    assert (await fleet.open().migrate()).success
    (row,) = (await fleet.open().status("t0")).tenants
    assert row.state == "current"
    events = await fleet.events("t0")
    assert [one.type for one in events].count("drift_detected") == 2


async def test_a_drift_that_stands_is_recorded_once(tmp_path: Path) -> None:
    """Found again by any command it is no news; one more difference is, and so is its end."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()

    async def recorded() -> int:
        return [one.type for one in await fleet.events("t0")].count("drift_detected")

    fleet.run("t0", "DROP INDEX notes_text")
    for _ in range(2):
        assert (await fleet.open().validate()).drift
        assert (await fleet.open().migrate()).success
        fleet.run("t0", "INSERT INTO notes (text) VALUES ('a row is no drift')")
        assert await recorded() == 1
    fleet.run("t0", "CREATE TABLE more (x)")
    for _ in range(2):
        assert (await fleet.open().validate()).drift
        assert await recorded() == 2
    fleet.run("t0", "DROP TABLE more")
    fleet.run("t0", "CREATE INDEX notes_text ON notes(text)")
    for _ in range(2):
        assert not (await fleet.open().validate()).drift
        assert await recorded() == 3


async def test_the_ledger_verifies_with_all_of_it(tmp_path: Path) -> None:
    """Stored projections, kept schemas and the chain agree after drift, acceptance and baselines."""
    fleet = Fleet(tmp_path, tenants=3)
    await fleet.open().baseline("t2", to="001")
    await fleet.open().migrate()
    fleet.run("t0", "DROP INDEX notes_text")
    await fleet.open().validate()
    fleet.write("002_more.sql", MORE.replace("{}", ""))
    await fleet.open().migrate()
    await fleet.open().validate("t0", accept=True, reason="so be it")
    await fleet.open().migrate()
    report = await fleet.open().verify()
    assert report.problems == ()
