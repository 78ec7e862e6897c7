"""`Ledger.migrate` on real SQLite tenants: what it does, records, refuses and survives."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import msgspec
import pytest

from ledger import events as ev
from ledger.api import Ledger
from ledger.errors import ChecksumMismatchError, ConfigError, UnknownTenantError, UsageError
from tests.fleet.world import TAGS, Fleet, types


async def test_a_run_migrates_every_tenant_and_records_each_statement(tmp_path: Path) -> None:
    """started, backup_created, one step event per statement, validated, completed; gapless versions."""
    fleet = Fleet(tmp_path)
    report = await fleet.open().migrate()
    assert report.summary == {"migrated": 3}
    assert report.exit_code == 0
    rows = await fleet.events("t1")
    assert types(rows) == [
        "started",
        "backup_created",
        "step_applied",
        "step_applied",
        "validated",
        "completed",
    ]
    assert [row.version for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {row.run for row in rows} == {report.run}
    everything = [row.seq async for row in fleet.open().history()]
    assert everything == list(range(1, len(everything) + 1))


async def test_a_second_run_does_nothing_and_records_nothing(tmp_path: Path) -> None:
    """No run, no event, every tenant current."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    before = (await fleet.open().status()).ledger
    again = await fleet.open().migrate()
    assert (again.run, again.summary) == ("", {"current": 3})
    assert (await fleet.open().status()).ledger == before


async def test_several_pending_migrations_are_one_claim(tmp_path: Path) -> None:
    """Each has its started and its completed, all under one epoch, with one backup."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    rows = await fleet.events("t0")
    assert types(rows).count("started") == types(rows).count("completed") == 2
    assert types(rows).count("backup_created") == 1
    starts = [row.data for row in rows if row.type == "started"]
    assert [one.epoch for one in starts if isinstance(one, ev.Started)] == [1, 1]


async def test_a_step_whose_guard_holds_is_skipped_and_said_so(tmp_path: Path) -> None:
    """The column is there already: step_skipped with the reason, the rest runs."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    fleet.run("t0", "ALTER TABLE notes ADD COLUMN tags TEXT")
    fleet.write("002_tags.sql", TAGS)
    report = await fleet.open().migrate()
    assert report.outcomes[0].skipped == 1
    skipped = [row.data for row in await fleet.events("t0") if row.type == "step_skipped"]
    assert len(skipped) == 1
    assert isinstance(skipped[0], ev.StepSkipped)
    assert "notes.tags" in skipped[0].reason
    assert fleet.query("t0", "SELECT tags FROM notes") == [("a",)]


async def test_a_failing_step_leaves_the_tenant_as_it_was_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    """One failed outcome with SQLite's message, file and line; a re-run after the repair converges."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    fleet.write("002_unique.sql", "ALTER TABLE notes ADD COLUMN a TEXT;\nCREATE TABLE extra (id);")
    fleet.run("t1", "CREATE TABLE extra (x)")
    before = fleet.schema("t1")
    report = await fleet.open().migrate()
    assert report.exit_code == 3
    assert report.summary == {"migrated": 2, "failed": 1}
    failed = report.failures[0]
    assert (failed.tenant, failed.error, failed.step, failed.line) == ("t1", "step_failed", 2, 2)
    assert "already exists" in failed.message
    assert fleet.schema("t1") == before
    status = await fleet.open().status()
    assert status.summary == {"current": 2, "failed": 1}
    fleet.run("t1", "DROP TABLE extra")
    assert (await fleet.open().migrate()).summary == {"current": 2, "migrated": 1}
    assert fleet.schema("t1") == fleet.schema("t0")


async def test_a_failing_check_rolls_the_migration_back(tmp_path: Path) -> None:
    """The check's name is in the message; nothing of the migration stays."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write(
        "002_checked.sql",
        "CREATE TABLE more (id);\n-- migrate:verify\n-- check: Two rows\nSELECT count(*) = 2 FROM more;\n",
    )
    report = await fleet.open().migrate()
    assert report.failures[0].error == "check_failed"
    assert "Two rows" in report.failures[0].message
    assert report.failures[0].migrations == ("migrations/001",)
    assert fleet.query("t0", "SELECT name FROM sqlite_master WHERE name = 'more'") == []


async def test_an_edited_applied_migration_refuses_the_run(tmp_path: Path) -> None:
    """Both checksums, the file and the tenants concerned; nothing is recorded."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    path = fleet.write("001_notes.sql", "CREATE TABLE notes (id INTEGER);")
    fleet.write("002_tags.sql", TAGS)
    before = (await fleet.open().status()).ledger.seq
    with pytest.raises(ChecksumMismatchError, match="3 tenants concerned: t0, t1, t2") as raised:
        await fleet.open().migrate()
    assert raised.value.file == str(path)
    assert raised.value.message.count("sha256") == 1
    assert (await fleet.open().status()).ledger.seq == before


async def test_line_endings_and_a_bom_are_no_edit(tmp_path: Path) -> None:
    """Checksums are over the normalised bytes."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    path = fleet.migrations / "001_notes.sql"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert (await fleet.open().migrate()).summary == {"current": 1}


async def test_late_versions_are_refused_unless_asked_for(tmp_path: Path) -> None:
    """Each tenant is refused with the way out; --out-of-order applies it."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("003_late.sql", "CREATE TABLE three (id);")
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    refused = (await fleet.open().migrate()).failures[0]
    assert refused.result == "refused"
    assert "--out-of-order" in refused.hint
    assert (await fleet.open().migrate(out_of_order=True)).summary == {"migrated": 1}


async def test_a_missing_file_is_one_unreachable_tenant(tmp_path: Path) -> None:
    """It is never created; the reason names the file; the others are migrated."""
    fleet = Fleet(tmp_path)
    with fleet.config.open("a") as config:
        config.write('[[tenants]]\nsqlite = "elsewhere/lost.db"\n')
    report = await fleet.open().migrate()
    assert report.summary == {"migrated": 3, "unreachable": 1}
    assert "lost.db" in report.failures[0].message
    assert not (tmp_path / "elsewhere").exists()
    assert types(await fleet.events("lost")) == ["tenant_skipped"]
    states = {row.tenant: row.state for row in (await fleet.open().status()).tenants}
    assert states["lost"] == "unreachable"


async def test_unknown_tenants_are_an_error_that_suggests_names(tmp_path: Path) -> None:
    """Nothing runs."""
    fleet = Fleet(tmp_path)
    with pytest.raises(UnknownTenantError, match="'t7'") as raised:
        await fleet.open().migrate(["t1", "t7"])
    assert "t" in raised.value.hint
    assert (await fleet.open().migrate(["t1"])).summary == {"migrated": 1}


async def test_a_run_stops_when_its_failure_budget_is_spent(tmp_path: Path) -> None:
    """Every tenant has an outcome: failed, or not run with the reason."""
    fleet = Fleet(tmp_path, tenants=6)
    fleet.write("001_notes.sql", "CREATE TABLE a (id); CREATE TABLE a (id);")
    report = await fleet.open().migrate(parallel=1, max_failures="1")
    assert report.summary == {"failed": 2, "not_run": 4}
    stopped = await fleet.open().migrate(parallel=1, on_error="stop")
    assert stopped.summary == {"failed": 1, "not_run": 5}
    with pytest.raises(UsageError, match="neither a number nor a percentage"):
        await fleet.open().migrate(max_failures="some")


async def test_tenants_that_failed_before_run_last(tmp_path: Path) -> None:
    """Two broken ones that sort first: typed again, the budget is spent only after all others were migrated."""
    fleet = Fleet(tmp_path, tenants=6)
    for name in ("t0", "t1"):
        fleet.run(name, "CREATE TABLE notes (id)")
    stopped = await fleet.open().migrate(parallel=1, max_failures=1)
    assert stopped.summary == {"failed": 2, "not_run": 4}
    assert list(stopped.errors) == ["t0", "t1"] == [one.tenant for one in stopped.failures]
    assert [one.tenant for one in stopped.not_run] == ["t2", "t3", "t4", "t5"]
    again = await fleet.open().migrate(parallel=1, max_failures=0)
    assert again.summary == {"failed": 1, "not_run": 1, "migrated": 4}
    for name in ("t0", "t1"):
        fleet.run(name, "DROP TABLE notes")
    assert (await fleet.open().migrate(parallel=1)).summary == {"migrated": 2, "current": 4}


async def test_a_tenant_that_could_not_be_opened_runs_last(tmp_path: Path) -> None:
    """As one that failed: it sorts first, and keeps no other one waiting."""
    fleet = Fleet(tmp_path, tenants=4)
    fleet.tenant("t0").write_bytes(b"no database " * 1000)
    assert (await fleet.open().migrate()).summary["migrated"] == 3
    fleet.write("002_tags.sql", TAGS)
    again = await fleet.open().migrate(parallel=1, max_failures=0)
    assert again.summary["migrated"] == 3
    assert [one.tenant for one in again.failures] == ["t0"]


async def test_a_percentage_is_of_the_tenants_that_were_chosen(tmp_path: Path) -> None:
    """And not of those that are left: else the last few could not fail at all."""
    fleet = Fleet(tmp_path, tenants=10)
    await fleet.open().migrate([f"t{number}" for number in range(8)])
    for name in ("t8", "t9"):
        fleet.run(name, "CREATE TABLE notes (id)")
    report = await fleet.open().migrate(parallel=1, max_failures="10%")
    assert report.summary == {"current": 8, "failed": 2}
    assert (await fleet.open().migrate(parallel=1, max_failures="0%")).summary == {
        "current": 8,
        "failed": 1,
        "not_run": 1,
    }


async def test_many_replicas_at_once_apply_each_step_once(tmp_path: Path) -> None:
    """One does the work, the others wait for its result; all report every tenant as done."""
    fleet = Fleet(tmp_path, tenants=4)
    fleet.write("002_tags.sql", TAGS)
    reports = []

    async def replica() -> None:
        reports.append(await fleet.open().migrate())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(replica)
    assert [report.failures for report in reports] == [()] * 5
    for number in range(4):
        rows = await fleet.events(f"t{number}")
        assert types(rows).count("completed") == 2
        assert fleet.query(f"t{number}", "SELECT count(*) FROM notes") == [(1,)]


async def test_a_tenant_put_back_behind_our_back_is_noticed_and_brought_forward(
    tmp_path: Path,
) -> None:
    """Its own marker is the truth: drift_detected says so, and only what it lacks is applied again."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    shutil.copy(fleet.tenant("t0"), tmp_path / "old.db")
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    shutil.copy(tmp_path / "old.db", fleet.tenant("t0"))
    report = await fleet.open().migrate()
    assert report.summary == {"current": 1, "migrated": 1}
    assert fleet.schema("t0") == fleet.schema("t1")
    assert fleet.query("t0", "SELECT count(*) FROM notes") == [(1,)]
    assert "drift_detected" in types(await fleet.events("t0"))
    assert (await fleet.open().status()).summary == {"current": 2}


async def test_a_ledger_put_back_behind_our_back_believes_the_tenants(tmp_path: Path) -> None:
    """What the tenants' markers call applied is not applied again."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(tmp_path / "ledger.db", tmp_path / "ledger-old.db")
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "ledger-old.db", tmp_path / "ledger.db")
    report = await fleet.open().migrate()
    assert report.success
    assert fleet.query("t0", "SELECT count(*) FROM notes") == [(1,)]
    assert (await fleet.open().status()).summary == {"current": 2}
    fleet.write("003_more.sql", "CREATE TABLE more (id);")
    assert (await fleet.open().migrate()).summary == {"migrated": 2}


async def test_backups_follow_the_policy(tmp_path: Path) -> None:
    """always: before each run; never: none; auto: only before a migration that destroys data."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate(backup="auto")
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate(backup="never")
    assert await fleet.open().backups() == []
    fleet.write("003_drop.sql", "DROP TABLE notes;")
    await fleet.open().migrate(backup="auto")
    kept = await fleet.open().backups()
    assert len(kept) == 1
    path = Path(kept[0].backup.path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "backups").stat().st_mode & 0o777 == 0o700
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM notes").fetchall() == [(1,)]


async def test_a_resumed_migration_without_a_transaction_records_each_step_once(
    tmp_path: Path,
) -> None:
    """What landed before the failure is kept in the tenant and in the ledger; the rest follows."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write(
        "002_apart.sql",
        "-- migrate:up transaction:false\nCREATE TABLE one (id);\nINSERT INTO two VALUES (1);\n",
    )
    failed = (await fleet.open().migrate()).failures[0]
    assert (failed.error, failed.step) == ("step_failed", 2)
    fleet.run("t0", "CREATE TABLE two (id)")
    assert (await fleet.open().migrate()).summary == {"migrated": 1}
    rows = [row async for row in fleet.open().history("t0", migration="002")]
    steps = [row.data for row in rows if row.type == "step_applied"]
    assert [one.step for one in steps if isinstance(one, ev.StepApplied)] == [1, 2]
    assert fleet.query("t0", "SELECT count(*) FROM two") == [(1,)]


@pytest.mark.parametrize("lease", [float("inf"), float("nan"), 1e300, 0.0])
async def test_a_lease_that_no_event_can_hold_is_refused_before_anything_is_recorded(
    tmp_path: Path, lease: float
) -> None:
    """It would stand in the ledger as `null`, for ever, and no command could read the ledger again."""
    fleet = Fleet(tmp_path)
    config = msgspec.structs.replace(fleet.open().config, lease_seconds=lease)
    with pytest.raises(ConfigError, match="lease_seconds"):
        await Ledger.open(config).migrate()
    async with fleet.open() as ledger:
        assert (await ledger.migrate()).summary == {"migrated": 3}


async def test_a_version_whose_file_is_gone_is_still_the_tenants_version(tmp_path: Path) -> None:
    """`version` is the highest of `applied`, not of those that the folder happens to have."""
    fleet = Fleet(tmp_path)
    file = fleet.write("002_tags.sql", TAGS)
    async with fleet.open() as ledger:
        await ledger.migrate()
        file.unlink()
        rows = (await ledger.status()).tenants
    assert {row.version for row in rows} == {"002"} and rows[0].applied == ("001", "002")


async def test_an_applied_migration_whose_file_is_gone_is_warned_of(tmp_path: Path) -> None:
    """`plan` and `validate` name it and its tenants; nothing is invalid, and it can still be undone."""
    fleet = Fleet(tmp_path)
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate(["t0", "t2"])
    assert (await fleet.open().plan()).warnings == ()
    (fleet.migrations / "002_tags.sql").unlink()
    planned = await fleet.open().plan()
    assert len(planned.warnings) == 1
    warning = planned.warnings[0]
    assert warning.startswith("migrations/002 is applied on 2 tenants (t0, t2), and no file")
    report = await fleet.open().validate()
    assert report.warnings == planned.warnings
    assert (report.valid, report.exit_code) == (True, 0)
    assert (await fleet.open().plan("t1")).warnings == ()
    assert (await fleet.open().rollback("t0", migration="002")).summary == {"rolled_back": 1}
    assert "(t2)" in (await fleet.open().plan()).warnings[0]


async def test_a_folder_of_gone_files_is_one_warning(tmp_path: Path) -> None:
    """However many there are: the first names, and how many; so too where the set itself went."""
    fleet = Fleet(tmp_path, tenants=7)
    for number in range(2, 9):
        fleet.write(f"00{number}_t.sql", f"CREATE TABLE t{number} (id INTEGER);")
    await fleet.open().migrate()
    fleet.migrations.rename(fleet.root / "other")
    fleet.migrations.mkdir()
    fleet.write("009_new.sql", "CREATE TABLE new (id INTEGER);")
    (warning,) = (await fleet.open().plan()).warnings
    assert warning.startswith(
        "8 migrations (migrations/001, migrations/002, migrations/003, migrations/004,"
        " migrations/005 …) are applied on 7 tenants (t0, t1, t2, t3, t4 …), and no file"
    )


ANOTHER_WRITES = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0).execute("INSERT INTO notes (text) VALUES ('other')")
except sqlite3.OperationalError as error:
    print(error)
"""


async def test_looking_takes_no_lock_from_the_application(tmp_path: Path) -> None:
    """`Ledger` is called by applications that have their databases open: closing any descriptor of
    such a file would drop their locks, and let another program write in the middle of theirs."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    with closing(sqlite3.connect(fleet.tenant("t1"), isolation_level=None)) as application:
        application.execute("BEGIN IMMEDIATE")
        application.execute("INSERT INTO notes (text) VALUES ('ours')")
        assert (await fleet.open().migrate()).summary == {"current": 3}
        command = [sys.executable, "-c", ANOTHER_WRITES, str(fleet.tenant("t1"))]
        done = await anyio.run_process(command)
        assert done.stdout == b"database is locked\n"
        application.execute("COMMIT")
    assert fleet.query("t1", "SELECT text FROM notes") == [("ours",)]
    assert fleet.query("t1", "PRAGMA integrity_check") == [("ok",)]


async def test_a_tenant_that_cannot_be_opened_for_a_lock_is_no_new_one(tmp_path: Path) -> None:
    """It was asked for and set aside: status has the reason, until a run gets in."""
    fleet = Fleet(tmp_path, extra="[timeouts]\nlock_seconds = 0.3\n")
    with closing(sqlite3.connect(fleet.tenant("t1"), isolation_level=None)) as application:
        application.execute("BEGIN EXCLUSIVE")
        assert (await fleet.open().migrate()).summary == {"migrated": 2, "failed": 1}
        row = (await fleet.open().status()).tenants[1]
        assert (row.tenant, row.state) == ("t1", "unreachable")
        assert "kept the database locked" in (row.error or "")
    assert (await fleet.open().migrate()).summary == {"migrated": 1, "current": 2}
    assert (await fleet.open().status()).summary == {"current": 3}


async def test_rows_that_a_rebuild_would_delete_are_told_of_before(tmp_path: Path) -> None:
    """With foreign keys on in `session`, DROP TABLE deletes what refers to the table by CASCADE."""
    fleet = Fleet(tmp_path)
    fleet.write(
        "002_rebuild.sql",
        "CREATE TABLE new_notes (id INTEGER PRIMARY KEY, text TEXT, more TEXT);\n"
        "INSERT INTO new_notes SELECT id, text, NULL FROM notes;\n"
        "DROP TABLE notes;\n"
        "ALTER TABLE new_notes RENAME TO notes;\n",
    )
    assert (await fleet.open().plan()).warnings == ()
    with fleet.config.open("a") as file:
        file.write('session = ["PRAGMA foreign_keys = ON"]\n')
    (warning,) = (await fleet.open().plan()).warnings
    assert "002_rebuild.sql:3" in warning and "DROP deletes the rows that refer to it" in warning
    assert (await fleet.open().migrate()).warnings == (warning,)
    assert (await fleet.open().migrate()).warnings == ()


async def test_a_tenant_that_lost_everything_is_not_just_migrated(tmp_path: Path) -> None:
    """Its file was emptied, or an old one put back: it is brought forward, and the run says why."""
    fleet = Fleet(tmp_path)
    await fleet.open().migrate()
    fleet.tenant("t1").write_bytes(b"")
    report = await fleet.open().migrate()
    assert report.summary == {"current": 2, "migrated": 1}
    (warning,) = report.outcomes[1].warnings
    assert "the ledger has migrations/001, the tenant nothing" in warning
