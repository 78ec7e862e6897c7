"""`rehearse`: migrate, roll back and migrate again on copies; the live tenants stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.scratch.rehearsal import PREFIX
from ledger.errors import ChecksumMismatchError
from ledger.rehearse.outside import reaches_out
from tests.cli.terminal import Terminal
from tests.conftest import MakeDatabase
from tests.place import WITH_MYSQL, MakePlace, Place
from tests.servers import Server, connect, queries, query

FIRST = """\
CREATE TABLE notes (id INTEGER PRIMARY KEY, words VARCHAR(40));
INSERT INTO notes VALUES (1, 'one');
-- migrate:down
DROP TABLE notes;
"""
SECOND = """\
-- step: Add tags
ALTER TABLE notes ADD COLUMN tags VARCHAR(20);
CREATE TABLE tags (id INTEGER PRIMARY KEY);
-- migrate:down
DROP TABLE tags;
ALTER TABLE notes DROP COLUMN tags;
-- migrate:verify
-- check: Every note is there
SELECT count(*) = 1 FROM notes;
"""


@pytest.fixture(params=WITH_MYSQL)
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_place: MakePlace,
) -> Place:
    """Two tenants with one migration applied, and another one pending."""
    place = make_place(request.param)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    place.migration("001_first.sql", FIRST)
    place.ok("migrate", "--all-tenants")
    place.migration("002_second.sql", SECOND)
    return place


def live(place: Place) -> Callable[[], Any]:
    """What must not change: the tenants (files byte by byte), the ledger, and no leftovers."""

    def look() -> Any:
        history = place.ok("history", "--format", "jsonl").out
        if place.engine == "sqlite":
            files = {path.name: path.read_bytes() for path in (place.folder / "data").iterdir()}
            return history, files
        assert place.server is not None
        tables = {
            name: [
                (table, place.run(name, f"CHECKSUM TABLE {table}"))
                for table in sorted(place.objects(name))
            ]
            for name in place.names
        }
        return history, tables

    return look


def leftovers(place: Place) -> list[str]:
    """Scratch databases and folders of these tenants that are still there."""
    found = [str(path) for path in (place.folder / "tmp").iterdir()]
    if place.server is not None:
        for name in place.names:
            scratch = scratch_name(name)
            sql = f"SELECT schema_name FROM information_schema.schemata WHERE schema_name = '{scratch}'"
            found += [str(row[0]) for row in query(place.server, sql)]
    return found


def scratch_name(database: str, prefix: str = "") -> str:
    """The one name of a tenant's scratch database."""
    return PREFIX + lock_name(database, prefix)[7:31]


def rehearse(place: Place, *more: str, code: int = 0) -> Any:
    """`rehearse --all-tenants --format json`, with the live tenants looked at before and after."""
    look = live(place)
    before = look()
    ended = place.ended("rehearse", "--all-tenants", "--format", "json", *more)
    assert ended.code == code, ended
    assert look() == before
    assert leftovers(place) == []
    return ended.json()


def test_the_whole_plan_runs_forward_back_and_forward_on_the_newest_backup(place: Place) -> None:
    """Times, sizes and down steps by migration; nothing live changes, and nothing is recorded."""
    report = rehearse(place)
    assert report["summary"] == {"passed": 2}
    for one in report["tenants"]:
        assert one["source"] == "backup" and Path(one["source_path"]).exists()
        assert [each["migration"] for each in one["migrations"]] == ["app/001", "app/002"]
        assert [each["down"] for each in one["migrations"]] == ["works", "works"]
        assert one["migrations"][1]["checks"] == 1 and one["migrations"][1]["steps"] == 2
        assert one["down"] == "works"
        assert one["migrate_us"] > 0 and one["rollback_us"] > 0 and one["reapply_us"] > 0
        assert "bytes_before" in one and "bytes_after" in one
    assert place.ok("rehearse", "--all-tenants").out.endswith("no live tenant was changed\n")


def test_a_copy_of_the_live_tenant_has_its_rows_and_only_what_is_pending(place: Place) -> None:
    """`--from live` starts where the tenant is now; the check sees its rows."""
    name = place.names[0]
    place.run(name, "INSERT INTO notes VALUES (2, 'two')")
    report = rehearse(place, "--from", "live", code=4)
    bad, good = (
        next(one for one in report["tenants"] if (one["tenant"] == name) is wanted)
        for wanted in (True, False)
    )
    assert (bad["result"], bad["stage"], bad["error"]) == ("failed", "migrate", "check_failed")
    assert "Every note is there" in bad["failed_checks"][0]
    assert bad["migration"] == "app/002"
    assert good["result"] == "passed"
    assert [each["migration"] for each in good["migrations"]] == ["app/002"]


def test_a_backup_from_before_a_rollback_is_passed_over(place: Place) -> None:
    """The newest one holds what is pending again: in it, nothing would be tried."""
    place.ok("migrate", "--all-tenants")
    place.ok("rollback", "--all-tenants", "-y")
    report = place.ok("rehearse", "--all-tenants", "--format", "json").json()
    for tenant in report["tenants"]:
        assert tenant["result"] == "passed"
        assert "app/002" in [one["migration"] for one in tenant["migrations"]]


def test_down_steps_that_do_not_lead_back_are_found(place: Place) -> None:
    """The difference is named, and the exit code is 4; a migration without down steps is only told."""
    path = place.migration(
        "003_third.sql",
        "CREATE TABLE more (id INTEGER PRIMARY KEY);\nCREATE INDEX notes_words ON notes (words);\n"
        "-- migrate:down\nDROP TABLE more;\n",
    )
    report = rehearse(place, "--from", "live", code=4)
    one = report["tenants"][0]
    assert (one["result"], one["stage"], one["down"]) == ("failed", "rollback", "differs")
    third = one["migrations"][1]
    assert third["down"] == "differs"
    assert [(each["name"], each["how"]) for each in third["differences"]] == [
        ("notes.notes_words", "added")
    ]
    assert rehearse(place, "--from", "live", "--to", "002")["summary"] == {"passed": 2}
    path.write_text("CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    report = rehearse(place, "--from", "live")
    assert [each["down"] for each in report["tenants"][0]["migrations"]] == ["not_run", "none"]
    assert "has no down steps" in place.ok("rehearse", "--all-tenants", "--from", "live").out


def test_down_steps_that_fail_are_found(place: Place) -> None:
    """At stage `rollback`, with file and line."""
    place.migration(
        "003_third.sql",
        "CREATE TABLE more (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE moore;\n",
    )
    one = rehearse(place, code=4)["tenants"][0]
    assert (one["stage"], one["down"], one["error"]) == ("rollback", "fails", "step_failed")
    assert one["file"].endswith("003_third.sql") and one["line"] == 3


def test_a_sample_rehearses_some_and_says_how_many_it_left_out(place: Place) -> None:
    """The same ones each time."""
    report = rehearse(place, "--sample", "1")
    assert (len(report["tenants"]), report["left_out"]) == (1, 1)
    assert (
        rehearse(place, "--sample", "1")["tenants"][0]["tenant"] == report["tenants"][0]["tenant"]
    )


def test_a_backup_that_cannot_be_restored_is_an_error_of_its_tenant(place: Place) -> None:
    """The other one is rehearsed; the exit code is 3."""
    kept = place.ok("backups", "--tenant", place.names[0], "--format", "json").json()[-1]
    path = Path(kept["path"])
    path.write_bytes(path.read_bytes()[:-100])
    report = rehearse(place, code=3)
    assert report["summary"] == {"error": 1, "passed": 1}
    assert str(path) in report["tenants"][0]["message"]


async def test_from_python(place: Place) -> None:
    """The report is a value; a migration that was edited after it ran is refused as `migrate` does."""
    async with place.open() as ledger:
        report = await ledger.rehearse("*", to="002")
        assert (report.exit_code, report.summary) == (0, {"passed": 2})
        assert {one.down for one in report.tenants} == {"works"}
    place.migration("001_first.sql", FIRST + "-- edited\n")
    with pytest.raises(ChecksumMismatchError):
        await place.open().rehearse("*")


async def test_a_cancelled_rehearsal_leaves_nothing(place: Place) -> None:
    """Scratch files and databases go, and the live tenants are what they were."""
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
        " SELECT count(*) FROM n"
    )
    sql = f"CREATE TABLE slow AS {slow};" if place.engine == "sqlite" else "DO SLEEP(60);"
    place.migration("003_slow.sql", f"CREATE TABLE begun (id INTEGER);\n{sql}\n")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                while not leftovers(place):
                    await anyio.sleep(0.01)
                scope.cancel()

            group.start_soon(stop)
            await place.open().rehearse("*")
    assert scope.cancelled_caught
    assert leftovers(place) == []
    assert "begun" not in place.objects(place.names[0])


async def test_the_lock_of_one_that_has_just_died_is_waited_for(place: Place) -> None:
    """The server frees it when it notices, which may be after the next rehearsal has begun."""
    server = place.server
    if server is None:
        # A file's scratch folder is its own, and nobody waits.
        assert {one.result for one in (await place.open().rehearse("*")).tenants} == {"passed"}
        return
    lock = scratch_name(place.names[0])
    waiting = (
        "SELECT 1 FROM information_schema.PROCESSLIST"
        f" WHERE INFO LIKE '%GET_LOCK(\\'{lock}%' AND ID <> CONNECTION_ID()"
    )
    with connect(server) as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", (lock,))
        assert cursor.fetchall() == ((1,),)

        async def free_when_waited_for() -> None:
            while not await anyio.to_thread.run_sync(query, server, waiting):
                await anyio.sleep(0.05)
            cursor.execute("SELECT RELEASE_LOCK(%s)", (lock,))

        async with anyio.create_task_group() as group:
            group.start_soon(free_when_waited_for)
            report = await place.open().rehearse(place.names[0])
    assert [one.result for one in report.tenants] == ["passed"]


@pytest.mark.parametrize(
    "point", ["engine.before_begin", "backup.after_rename", "restore.after_write"]
)
def test_what_a_killed_rehearsal_left_is_removed_by_the_next(place: Place, point: str) -> None:
    """Its folder and its scratch databases have no owner any more."""
    look = live(place)
    before = look()
    arguments = ("rehearse", "--all-tenants", "--from", "live", "--parallel", "1")
    if place.engine != "sqlite" and point == "engine.before_begin":
        point = "engine.after_statement"
    killed = place.terminal.start(*arguments, env={"LEDGER_FAILPOINT": point})
    assert killed.code == -9 and leftovers(place)
    assert look() == before
    place.ok(*arguments)
    assert leftovers(place) == [] and look() == before


def test_what_would_touch_something_live_is_refused(
    place: Place,
) -> None:
    """A migration that names a live database, or attaches a file, is not run anywhere."""
    name = place.names[0]
    if place.engine == "sqlite":
        text = f"-- migrate:up transaction:false\nATTACH DATABASE '{place.folder}/data/{name}.db' AS live;\n"
    else:
        text = f"INSERT INTO `{name}`.notes VALUES (99, 'reached');\n"
    place.migration("003_out.sql", text)
    report = rehearse(place, code=3)
    assert report["summary"] == {"error": 2}
    assert "lies outside" in report["tenants"][0]["message"]


def test_a_trigger_that_would_reach_a_live_table_is_refused(place: Place) -> None:
    """It is in the copy too, and a migration's rows would fire it (SQLite's triggers cannot name a file)."""
    first = place.names[0]
    place.migration("003_row.sql", "INSERT INTO notes (id, words) VALUES (50, 'x');\n")
    if place.engine == "sqlite":
        assert rehearse(place, "--from", "live")["summary"] == {"passed": 2}
        return
    trigger = f"INSERT INTO {first}.mine VALUES (NEW.id)"
    place.run(first, f"CREATE TRIGGER notes_out AFTER INSERT ON notes FOR EACH ROW {trigger}")
    report = rehearse(place, "--from", "live", code=3)
    assert report["summary"] == {"error": 1, "passed": 1}
    refused = next(one for one in report["tenants"] if one["result"] == "error")
    assert refused["tenant"] == first and "trigger notes_out names database" in refused["message"]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("INSERT INTO shop.notes VALUES (1)", "database shop"),
        ("insert into `shop` . notes values (1)", "database shop"),
        ("USE shop", "database shop"),
        ("DROP DATABASE `shop`", "database shop"),
        ("ALTER TABLE workshop.notes ADD x INT", ""),
        ("SELECT shop FROM notes", ""),
        ("ATTACH 'x.db' AS x", "ATTACH"),
    ],
)
def test_a_name_before_a_dot_reaches_out(sql: str, word: str) -> None:
    """Statements that name another database, in any writing; a column of that name does not."""
    assert reaches_out(sql, ["shop"]) == word


def test_prefix_tenants_are_rehearsed_with_the_tables_they_share(
    sql_server: Server, make_database: MakeDatabase, terminal: Terminal
) -> None:
    """The same prefix in a scratch database, beside a copy of the users that a variable names: row by
    row as they are, with an id 0 and a date that only an older or laxer mode lets in."""
    database = make_database(sql_server)
    queries(
        sql_server,
        [
            "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
            "CREATE TABLE wp_users (ID INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20),"
            " at DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00')",
            "INSERT INTO wp_users VALUES (0, 'nobody', DEFAULT), (1, 'ana', '2026-00-00')",
        ],
        database=database,
    )
    socket = f"?unix_socket={sql_server.url.unix_socket}" if sql_server.url.unix_socket else ""
    url = f"mysql://{sql_server.url.user}@{sql_server.url.host}:{sql_server.url.port}/{database}{socket}"
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    terminal.write(
        "ledger.toml",
        f'migrations = "migrations/app"\n[[tenants]]\nmysql = "{url}"\n{named}'
        'prefixes = ["wp_2_", "wp_3_"]\nvariables = { wpdb_users = "wp_users" }\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    terminal.write(
        "migrations/app/001_chats.sql",
        "CREATE TABLE {prefix}chats (id INT PRIMARY KEY, user_id INT);\n"
        "INSERT INTO {prefix}chats SELECT ID, ID FROM {wpdb_users};\n"
        "-- migrate:down\nDROP TABLE {prefix}chats;\n",
    )
    terminal.write(
        "migrations/app/002_view.sql",
        "CREATE VIEW {prefix}people AS SELECT c.id, u.name FROM {prefix}chats c"
        " JOIN {wpdb_users} u ON u.ID = c.user_id;\n"
        "-- migrate:down\nDROP VIEW {prefix}people;\n"
        "-- migrate:verify\n-- check: Ana and nobody are there\nSELECT count(*) = 2 FROM {prefix}people;\n",
    )
    terminal.ok("migrate", "--to", "001", "--all-tenants", env=env)
    before = query(sql_server, "SHOW TABLES", database=database)
    for source in ("live", "backup"):
        report = terminal.ok(
            "rehearse", "--all-tenants", "--from", source, "--format", "json", env=env
        ).json()
        assert report["summary"] == {"passed": 2}, report
        assert {one["down"] for one in report["tenants"]} == {"works"}
    assert query(sql_server, "SHOW TABLES", database=database) == before
    names = {scratch_name(database, prefix) for prefix in ("wp_2_", "wp_3_")}
    assert not names & {str(row[0]) for row in query(sql_server, "SHOW DATABASES")}
