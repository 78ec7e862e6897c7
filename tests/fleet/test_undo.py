"""Rolling back, restoring, baselining and unlocking through `Ledger`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger import events as ev
from ledger.errors import UnknownTenantError, UsageError
from ledger.fleet.report import RunReport
from tests.fleet.world import BASE, TAGS, Fleet, types


async def test_rollback_by_script_needs_no_file_on_disk(tmp_path: Path) -> None:
    """The down steps come from the text that the ledger kept."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    before = fleet.schema("t0")
    path = fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    path.unlink()
    report = await fleet.open().rollback(reason="too early")
    assert report.summary == {"rolled_back": 3}
    assert fleet.schema("t0") == before
    assert fleet.query("t0", "SELECT count(*) FROM notes") == [(0,)]
    last = (await fleet.events("t0"))[-1].data
    assert isinstance(last, ev.RolledBack)
    assert (last.migration.version, last.reason) == ("002", "too early")


async def test_rollback_from_the_backup_where_there_are_no_down_steps(tmp_path: Path) -> None:
    """The plan says what is lost; the tenant is again what it was before the migration."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    fleet.run("t0", "INSERT INTO notes (text) VALUES ('kept')")
    before = fleet.schema("t0")
    fleet.write("002_more.sql", "CREATE TABLE more (id); DELETE FROM notes;")
    await fleet.open().migrate()
    plan = await fleet.open().plan_rollback()
    assert "everything written since" in plan.tenants[0].migrations[0].lost
    report = await fleet.open().rollback()
    assert report.summary == {"rolled_back": 1}
    assert fleet.schema("t0") == before
    assert fleet.query("t0", "SELECT text FROM notes") == [("kept",)]
    assert types(await fleet.events("t0"))[-1] == "restored"
    assert (await fleet.open().migrate()).summary == {"migrated": 1}


async def test_a_backup_that_would_undo_more_is_used_only_when_named(tmp_path: Path) -> None:
    """Two migrations in one run share a backup: undoing one from it needs --by backup."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_more.sql", "CREATE TABLE more (id);")
    await fleet.open().migrate()
    refused = (await fleet.open().rollback()).failures[0]
    assert "001" in refused.message
    assert "--by backup" in refused.hint
    assert (await fleet.open().rollback(by="backup")).summary == {"rolled_back": 1}
    assert fleet.schema("t0") == []


async def test_rollback_of_a_run_touches_what_that_run_changed(tmp_path: Path) -> None:
    """Only its tenants, only its migrations."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    first = await fleet.open().migrate(["t1"])
    await fleet.open().migrate()
    report = await fleet.open().rollback(run=first.run)
    assert report.summary == {"rolled_back": 1, "current": 2}
    applied = {row.tenant: row.applied for row in (await fleet.open().status()).tenants}
    assert applied == {"t0": ("001", "002"), "t1": ("001",), "t2": ("001", "002")}
    with pytest.raises(UsageError, match="no run has the id"):
        await fleet.open().rollback(run="nothing")


async def test_rollback_of_one_version_passes_over_tenants_that_lack_it(tmp_path: Path) -> None:
    """Where it is applied it is undone; typed again it has nothing to do; an unknown one is an error."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate(["t1"])
    assert (await fleet.open().rollback(migration="002")).summary == {
        "current": 1,
        "rolled_back": 1,
    }
    again = await fleet.open().rollback(migration="002")
    assert (again.summary, again.run, again.exit_code) == ({"current": 2}, "", 0)
    assert (await fleet.open().plan_rollback(migration="migrations/002")).pending == ()
    (fleet.migrations / "002_tags.sql").unlink()
    assert (await fleet.open().rollback(migration="002")).exit_code == 0
    with pytest.raises(UsageError, match="no migration 020") as raised:
        await fleet.open().rollback(migration="020")
    assert "migrations/001" in raised.value.hint
    with pytest.raises(UsageError, match="002 is not applied on any"):
        await fleet.open().rollback(to="002")


async def test_rollback_to_a_version_undoes_all_after_it(tmp_path: Path) -> None:
    """Newest first, each with its own end event; `0` undoes everything."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_tags.sql", TAGS)
    fleet.write("003_more.sql", "CREATE TABLE more (id);\n-- migrate:down\nDROP TABLE more;\n")
    await fleet.open().migrate()
    await fleet.open().rollback(to="001")
    undone = [row.data for row in await fleet.events("t0") if row.type == "rolled_back"]
    assert [one.migration.version for one in undone if isinstance(one, ev.RolledBack)] == [
        "003",
        "002",
    ]
    await fleet.open().rollback(to="0")
    assert fleet.schema("t0") == []
    assert (await fleet.open().status()).tenants[0].applied == ()


async def test_restore_brings_data_back_even_from_a_damaged_file(tmp_path: Path) -> None:
    """The newest backup, checked by its hash; the applied set is what it was then."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    fleet.run("t0", "INSERT INTO notes (text) VALUES ('kept')")
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    fleet.tenant("t0").write_bytes(b"rubbish" * 1000)
    report = await fleet.open().restore("t0", reason="damaged")
    assert report.summary == {"restored": 1}
    assert fleet.query("t0", "SELECT text FROM notes") == [("kept",)]
    status = (await fleet.open().status()).tenants[0]
    assert (status.applied, status.pending) == (("001",), ("002",))


async def test_a_truncated_backup_is_refused(tmp_path: Path) -> None:
    """The tenant stays as it is; the message names the file."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    kept = (await fleet.open().backups())[0]
    path = Path(kept.backup.path)
    path.write_bytes(path.read_bytes()[:-100])
    before = fleet.schema("t0")
    refused = (await fleet.open().restore("t0")).failures[0]
    assert refused.error == "restore_failed"
    assert str(path) in refused.message
    assert fleet.schema("t0") == before
    with pytest.raises(UnknownTenantError, match="no such backup"):
        await fleet.open().restore("t0", backup=9999)


async def test_baseline_counts_as_applied_without_running(tmp_path: Path) -> None:
    """A tenant that has the tables already joins; what comes later is applied."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.run("t0", BASE.split("-- migrate:down")[0])
    fleet.write("002_tags.sql", TAGS)
    report = await fleet.open().baseline("t0", to="001", reason="was there")
    assert report.summary == {"baselined": 1}
    assert (await fleet.open().migrate()).outcomes[0].migrations == ("migrations/002",)
    assert types(await fleet.events("t0"))[:2] == ["started", "baselined"]
    assert (await fleet.open().rollback(to="001")).summary == {"rolled_back": 1}


async def test_validate_finds_drift_and_clusters_it(tmp_path: Path) -> None:
    """Added, missing and changed objects; tenants that drifted alike are one cluster."""
    fleet = Fleet(tmp_path, tenants=4)
    await fleet.open().migrate()
    assert (await fleet.open().validate()).valid
    for name in ("t1", "t2"):
        fleet.run(name, "CREATE TABLE stray (id); DROP INDEX notes_text;")
    fleet.run("t3", "DROP TABLE notes")
    report = await fleet.open().validate()
    assert report.exit_code == 4
    assert [cluster.tenants for cluster in report.drift] == [("t1", "t2"), ("t3",)]
    changes = {(one.kind, one.name, one.how) for one in report.drift[0].changes}
    assert changes == {("table", "stray", "added"), ("index", "notes.notes_text", "missing")}
    by_name = {finding.tenant: finding for finding in report.findings}
    assert [check.passed for check in by_name["t3"].checks] == [False]
    states = {row.tenant: row.state for row in (await fleet.open().status()).tenants}
    assert states == {"t0": "current", "t1": "drifted", "t2": "drifted", "t3": "drifted"}
    for name in ("t1", "t2"):
        fleet.run(name, "DROP TABLE stray; CREATE INDEX notes_text ON notes(text);")
    await fleet.open().validate(["t1", "t2"])
    assert (await fleet.open().status(["t1"])).tenants[0].state == "current"


async def test_status_at_a_time_shows_the_fleet_as_it_was(tmp_path: Path) -> None:
    """`--at` folds only what came before."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    first = (await fleet.events("t0"))[-1].at
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    second_start = next(row.at for row in await fleet.events("t0") if row.at > first)
    assert (await fleet.open().status(at=second_start)).tenants[0].applied == ("001",)
    assert (await fleet.open().status()).tenants[0].applied == ("001", "002")


async def test_history_filters(tmp_path: Path) -> None:
    """By type, run, migration, actor and limit, in seq order."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    second = await fleet.open().migrate()

    async def history(**where: object) -> list[str]:
        return types([row async for row in fleet.open().history(**where)])  # type: ignore[arg-type]

    assert set(await history(type="completed")) == {"completed"}
    assert len(await history(type="completed")) == 4
    assert "run_started" in await history(run=second.run)
    assert set(await history(migration="002", tenant="t0")) == {
        "started",
        "step_applied",
        "validated",
        "completed",
    }
    assert await history(tenant="t0", limit=2) == ["validated", "completed"]
    assert await history(actor="nobody") == []
    with pytest.raises(UsageError, match="no event has the type"):
        await history(type="complete")


async def test_a_kept_text_that_was_changed_is_not_run(tmp_path: Path) -> None:
    """The ledger's own copy is held to its hash before its down steps touch a tenant."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    before = fleet.schema("t0")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE scripts SET content = content || 'DROP TABLE users;'")
        database.commit()
    refused = (await fleet.open().rollback()).failures[0]
    assert "was changed" in refused.message
    assert fleet.schema("t0") == before


PYTHON = """\
async def up(tenant):
    await tenant.execute("CREATE TABLE made (x)")

async def down(tenant):
    await tenant.execute("DROP TABLE made")
"""


async def test_a_python_migration_is_undone_by_its_down(tmp_path: Path) -> None:
    """By the function in the folder, if that is the file that ran; never by one that is not."""
    fleet = Fleet(tmp_path, tenants=1, extra="allow_python = true")
    file = fleet.write("002_made.py", PYTHON)
    before = fleet.schema("t0")
    async with fleet.open() as ledger:
        await ledger.migrate(to="001")
        before = fleet.schema("t0")
        await ledger.migrate()
        assert fleet.schema("t0") != before
        plan = await ledger.plan_rollback()
        assert [(one.id, one.how) for one in plan.tenants[0].migrations] == [
            ("migrations/002", "python")
        ]
        file.write_text(PYTHON.replace("DROP TABLE made", "DROP TABLE notes"))
        report = await ledger.rollback(by="script")
        assert "edited since, or is gone" in report.errors["t0"]
        file.unlink()
        report = await ledger.rollback(by="script")
        assert "edited since, or is gone" in report.errors["t0"]
        assert (await ledger.validate()).findings[0].error is None
        file.write_text(PYTHON)
        report = await ledger.rollback()
        assert report.success and fleet.schema("t0") == before
        assert (await ledger.migrate()).success


async def test_validate_leaves_a_run_at_work_in_peace(tmp_path: Path) -> None:
    """A tenant that is being migrated is set aside, whatever half of it is there; the run ends as if
    nobody had looked, and so does one whose process validates beside it."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    outside = sqlite3.connect(fleet.tenant("t0"), isolation_level=None)
    with closing(outside):
        # The run has its claim, and waits here before its first statement.
        outside.execute("BEGIN IMMEDIATE")
        reports: list[RunReport] = []

        async def migrate() -> None:
            reports.append(await fleet.open().migrate("t0"))

        async with anyio.create_task_group() as group:
            group.start_soon(migrate)
            with anyio.fail_after(30):
                while not [row async for row in fleet.open().history("t0", migration="002")]:
                    await anyio.sleep(0.01)
            before = await fleet.open().head()
            report = await fleet.open().validate()
            assert [one.error for one in report.findings] == ["claim_held", None]
            assert report.exit_code == 3
            seen = [row.type for row in await fleet.events("t0") if row.seq > before.seq]
            assert not {"validated", "drift_detected", "tenant_skipped"} & {*seen}
            outside.execute("ROLLBACK")
    assert reports[0].summary == {"migrated": 1}
    assert types(await fleet.events("t0")).count("failed") == 0
    assert (await fleet.open().validate()).valid


async def test_what_a_half_landed_migration_means_for_a_backup(tmp_path: Path) -> None:
    """One undone and applied again below it is not "in its middle": the other one is, and is named."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_tags.sql", TAGS)
    fleet.write(
        "003_half.sql",
        "-- migrate:up transaction:false\nCREATE TABLE half (x);\nINSERT INTO nope VALUES (1);\n",
    )
    async with fleet.open() as ledger:
        assert not (await ledger.migrate()).success
        undone = await ledger.rollback(migration="002")
        assert undone.applied == {"t0": ("migrations/002",)}
        assert undone.outcomes[0].warnings == (
            "migrations/003 has landed in part, and stays so: `ledger migrate --tenant NAME` brings it to its end",
        )
        report = await ledger.migrate()
        text = " ".join((*report.warnings, *report.outcomes[0].warnings))
        assert "migrations/002 is applied without a backup: migrations/003 has landed" in text
        assert "migrations/002 goes on in its middle" not in text


@pytest.mark.parametrize(
    "name", ["\u8a9e" * 80, "\u00e9" * 120, "a" * 128], ids=["three bytes", "two", "one"]
)
async def test_a_long_name_can_be_backed_up(tmp_path: Path, name: str) -> None:
    """What a file system takes for a tenant, with its ending, leaves no room for version and time."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.tenant("t0").rename(fleet.tenant(name))
    assert (await fleet.open().migrate()).summary == {"migrated": 1}
    assert (await fleet.open().rollback(by="backup")).summary == {"rolled_back": 1}
    assert (await fleet.open().restore("*")).summary == {"restored": 1}
    assert all(one.sound for one in await fleet.open().verify_backups())
