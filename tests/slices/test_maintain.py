"""`maintain`: optimise, find and mend orphans, archive old rows; what was killed is simply typed again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ledger import events as ev
from ledger.errors import UsageError
from tests.cli.terminal import Terminal
from tests.conftest import MakeDatabase
from tests.place import WITH_MYSQL, MakePlace, Place
from tests.servers import Server, query

TABLES = """\
CREATE TABLE parents (id INTEGER PRIMARY KEY, name VARCHAR(20));
CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER,
  FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE);
CREATE TABLE grandchildren (id INTEGER PRIMARY KEY, child INTEGER,
  FOREIGN KEY (child) REFERENCES children (id));
CREATE TABLE notes (id INTEGER PRIMARY KEY, parent INTEGER,
  FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE SET NULL);
CREATE TABLE log (id INTEGER PRIMARY KEY, at DATETIME, words VARCHAR(40), raw BLOB);
CREATE TABLE marks (id INTEGER PRIMARY KEY, log INTEGER,
  FOREIGN KEY (log) REFERENCES log (id) ON DELETE CASCADE);
"""
ARCHIVE = ("maintain", "--task", "archive", "--table", "log", "--column", "at")
OLD = ("--older-than", "90d")
LOG = "SELECT id FROM log ORDER BY id"


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants with parents, children and a log."""
    place = make_place(request.param)
    place.migration("001_tables.sql", TABLES)
    place.ok("migrate", "--all-tenants")
    return place


def past_checks(place: Place, tenant: str, *statements: str) -> None:
    """Run statements while the database does not look at foreign keys."""
    off = (
        "PRAGMA foreign_keys = OFF"
        if place.engine == "sqlite"
        else "SET SESSION foreign_key_checks = 0"
    )
    place.run(tenant, off, *statements)


def fill_log(place: Place, tenant: str) -> None:
    """Rows 1 to 5 are old, and a mark refers to row 5; 6 and 7 are not old."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    for number in range(1, 6):
        place.run(
            tenant,
            f"INSERT INTO log VALUES ({number}, '2020-01-0{number} 10:00:00', 'ä{number}', x'00ff0{number}')",
        )
    place.run(tenant, f"INSERT INTO log VALUES (6, '{today} 00:00:00', 'new', NULL)")
    place.run(tenant, "INSERT INTO log VALUES (7, NULL, 'no time', NULL)")
    place.run(tenant, "INSERT INTO marks VALUES (1, 5)")


def ids(place: Place, tenant: str, sql: str) -> list[Any]:
    """The first column."""
    return [row[0] for row in place.run(tenant, sql)]


def rows_in(path: Path) -> list[dict[str, Any]]:
    """An archive file's rows, read by zstd and JSON alone."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return [json.loads(line) for line in reader.read().splitlines()]


def archives(place: Place, tenant: str) -> list[Path]:
    """The tenant's archive files."""
    return sorted((place.folder / "backups" / tenant).glob("*.jsonl.zst"))


def test_orphans_are_reported_first_and_mended_with_apply(place: Place) -> None:
    """A look names table, key, number and samples and ends with 4; --apply deletes children before
    grandchildren, sets NULL where the key says so, and touches nothing else."""
    first, second = place.names
    past_checks(
        place,
        first,
        "INSERT INTO parents VALUES (1, 'ana')",
        "INSERT INTO children VALUES (1, 1), (2, 77), (3, 78), (4, NULL)",
        "INSERT INTO grandchildren VALUES (1, 1), (2, 2), (3, 3), (4, 99)",
        "INSERT INTO notes VALUES (1, 1), (2, 77)",
    )
    before = place.ok("history", "--format", "jsonl").lines()
    ended = place.ended("maintain", "--task", "orphans", "--all-tenants", "--format", "json")
    assert ended.code == 4
    seen = {one["tenant"]: one for one in ended.json()["tenants"]}
    found = {one["reference"]["table"]: one for one in seen[first]["found"]}
    assert {table: one["count"] for table, one in found.items()} == {
        "children": 2,
        "grandchildren": 1,
        "notes": 1,
    }
    assert json.loads(found["notes"]["samples"][0]) == {"id": 2, "parent": 77}
    assert seen[second]["result"] == "current" and "found" not in seen[second]
    assert place.ok("history", "--format", "jsonl").lines() == before

    place.ok("maintain", "--task", "orphans", "--all-tenants", "--apply", "-y", "--batch", "1")
    assert ids(place, first, "SELECT id FROM children ORDER BY id") == [1, 4]
    assert ids(place, first, "SELECT id FROM grandchildren ORDER BY id") == [1]
    assert place.run(first, "SELECT id, parent FROM notes ORDER BY id") == [(1, 1), (2, None)]
    (event,) = place.events(first, "maintained")
    assert event["body"]["rows"] == 2 + 3 + 1
    assert {one["table"]: one["rows"] for one in event["body"]["tables"]} == {
        "children": 2,
        "grandchildren": 3,
        "notes": 1,
    }
    assert place.events(second, "maintained") == []
    place.ok("maintain", "--task", "orphans", "--all-tenants")
    assert "all valid" in place.ok("validate").out
    assert place.ok("migrate", "--all-tenants").out.startswith("Nothing to do")


def test_rows_of_a_parent_that_is_not_there_are_left(place: Place) -> None:
    """Where the parent table is gone, all rows look like orphans: none is deleted, and it is said."""
    name = place.names[0]
    past_checks(
        place,
        name,
        "INSERT INTO parents VALUES (1, 'ana')",
        "INSERT INTO children VALUES (1, 1)",
        "DROP TABLE parents",
    )
    ended = place.ended("maintain", "--task", "orphans", "--tenant", name, "--apply", "-y")
    assert ended.code == 4
    assert "is not there" in ended.out
    assert ids(place, name, "SELECT id FROM children") == [1]


def test_archive_moves_old_rows_into_a_file_and_deletes_exactly_those(place: Place) -> None:
    """A look changes nothing; --apply writes a private, verified file, then deletes what is in it.

    Rows that others refer to, new ones and ones without a time stay.
    """
    first, second = place.names
    fill_log(place, first)
    seen = place.ok(*ARCHIVE, *OLD, "--all-tenants", "--format", "json").json()
    assert [one.get("old", 0) for one in seen["tenants"]] == [4, 0]
    assert seen["tenants"][0]["held"] == 1
    assert ids(place, first, LOG) == [1, 2, 3, 4, 5, 6, 7]
    assert archives(place, first) == []

    place.ok(*ARCHIVE, *OLD, "--all-tenants", "--apply", "-y", "--batch", "3", "--reason", "yearly")
    assert ids(place, first, LOG) == [5, 6, 7]
    assert ids(place, first, "SELECT id FROM marks") == [1]
    (path,) = archives(place, first)
    assert path.stat().st_mode & 0o777 == 0o600
    rows = rows_in(path)
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["words"] == "ä1" and rows[0]["raw"] == {"$bytes": "AP8B"}
    (event,) = place.events(first, "maintained")
    body = event["body"]
    assert (body["task"], body["rows"], body["table"], body["reason"]) == (
        "archive",
        4,
        "log",
        "yearly",
    )
    assert body["file"] == str(path) and body["file_bytes"] == path.stat().st_size
    assert body["bytes_before"] and body["bytes_after"]
    place.ok(*ARCHIVE, *OLD, "--all-tenants", "--apply", "-y")
    assert archives(place, first) == [path] and not archives(place, second)
    assert "the chain holds" in place.ok("verify").out


def test_an_order_that_cannot_be_meant_is_refused(place: Place) -> None:
    """A table that is not the tenant's, the marker, a column without time, an age that is none."""
    name = place.names[0]
    for table, column in (("nothing", "at"), ("ledger_marker", "epoch"), ("log", "nothing")):
        ended = place.ended(
            "maintain", "--task", "archive", "--tenant", name, "--table", table,
            "--column", column, *OLD, "--apply", "-y",
        )  # fmt: skip
        assert ended.code == 3, ended
    for arguments in (
        (*ARCHIVE, "--older-than", "soon"),
        (*ARCHIVE, "--older-than", "0d"),
        ("maintain", "--task", "archive", "--table", "log"),
        ("maintain", "--task", "orphans", "--table", "log"),
    ):
        assert place.ended(*arguments, "--tenant", name).code == 2
    assert place.ended(*ARCHIVE, *OLD).code == 2
    assert place.events(name, "maintained") == []


async def test_optimize_keeps_everything_but_the_size(place: Place) -> None:
    """From Python: rows and schema are what they were, the event has the sizes, and the next
    migrate finds nothing changed."""
    first = place.names[0]
    for start in range(0, 400, 100):
        words = ", ".join(f"({n}, NULL, '{'x' * 40}', NULL)" for n in range(start, start + 100))
        place.run(first, f"INSERT INTO log VALUES {words}")
    place.run(first, "DELETE FROM log WHERE id > 5")
    async with place.open() as ledger:
        report = await ledger.maintain("*", task="optimize", reason="monthly")
        assert (report.exit_code, report.applied) == (0, True)
        assert {one.result for one in report.tenants} == {"maintained"}
        one = next(one for one in report.tenants if one.tenant == first)
        assert one.bytes_before and one.bytes_after and one.bytes_after <= one.bytes_before
        if place.engine == "sqlite":
            assert one.bytes_after < one.bytes_before
        assert (await ledger.validate()).valid
        assert set((await ledger.migrate()).summary) == {"current"}
        with pytest.raises(UsageError):
            await ledger.maintain("*", task="archive", table="log")
        (row,) = [row async for row in ledger.history(first, type="maintained")]
    assert len(ids(place, first, LOG)) == 6
    assert isinstance(row.data, ev.Maintained) and row.data.reason == "monthly"
    names = {one.table for one in row.data.tables}
    assert {"log", "mine", "parents"} <= names and "ledger_marker" not in names


def test_maintenance_waits_for_a_migration_that_failed_half_way(place: Place) -> None:
    """A tenant in the middle of a migration is refused, and still says why it failed."""
    if place.engine == "sqlite":
        place.migration(
            "002_half.sql",
            "-- migrate:up transaction:false\nCREATE TABLE one (id INTEGER);\nBROKEN;\n",
        )
    else:
        place.migration("002_half.sql", "CREATE TABLE one (id INTEGER);\nBROKEN;\n")
    name = place.names[0]
    assert place.ended("migrate", "--tenant", name).code == 3
    ended = place.ended("maintain", "--task", "optimize", "--tenant", name)
    assert ended.code == 3 and "in the middle of a migration" in ended.out
    (row,) = place.ok("status", "--tenant", name, "--format", "json").json()["tenants"]
    assert row["state"] == "failed" and "BROKEN" in row["error"]


POINTS = (
    "runner.after_claim",
    "backup.half_written",
    "backup.before_rename",
    "backup.after_rename",
    "engine.in_transaction",
    "engine.after_commit:2",
    "store.before_commit:3",
    "store.after_commit:3",
    "runner.after_record",
)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_archive_loses_no_row_and_writes_none_twice(place: Place, point: str) -> None:
    """Wherever it is killed: the same command again ends with every old row in one recorded file."""
    name = place.names[0]
    fill_log(place, name)
    arguments = (*ARCHIVE, *OLD, "--tenant", name, "--apply", "-y", "--batch", "2")
    assert place.terminal.start(*arguments, env={"LEDGER_FAILPOINT": point}).code == -9
    place.ok(*arguments)
    assert ids(place, name, LOG) == [5, 6, 7]
    written = [row["id"] for path in archives(place, name) for row in rows_in(path)]
    assert sorted(written) == [1, 2, 3, 4]
    events = place.events(name, "maintained")
    assert [one["body"]["file"] for one in events] == [str(one) for one in archives(place, name)]
    assert sum(one["body"]["rows"] for one in events) == 4
    assert not list((place.folder / "backups" / name).glob(".*"))


@pytest.mark.parametrize("point", ["engine.in_transaction:2", "engine.after_commit:2"])
def test_killed_orphan_cleaning_goes_on(place: Place, point: str) -> None:
    """Killed between batches, the same command deletes the rest."""
    name = place.names[0]
    past_checks(place, name, "INSERT INTO children VALUES (1, 70), (2, 71), (3, 72), (4, NULL)")
    arguments = ("maintain", "--task", "orphans", "--tenant", name, "--apply", "-y", "--batch", "1")
    assert place.terminal.start(*arguments, env={"LEDGER_FAILPOINT": point}).code == -9
    place.ok(*arguments)
    assert ids(place, name, "SELECT id FROM children") == [4]
    assert len(place.events(name, "maintained")) == 1


def test_a_row_that_changed_after_it_was_written_stays(place: Place) -> None:
    """What the application wrote meanwhile is kept, and said; it is not among the archived rows."""
    name = place.names[0]
    fill_log(place, name)
    arguments = (*ARCHIVE, *OLD, "--tenant", name, "--apply", "-y")
    killed = place.terminal.start(*arguments, env={"LEDGER_FAILPOINT": "backup.after_rename"})
    assert killed.code == -9
    recent = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d 00:00:00")
    place.run(name, f"UPDATE log SET words = 'changed', at = '{recent}' WHERE id = 2")
    assert "changed meanwhile" in place.ok(*arguments).out
    assert ids(place, name, LOG) == [2, 5, 6, 7]
    (event,) = place.events(name, "maintained")
    assert event["body"]["rows"] == 3


def test_a_damaged_archive_of_a_killed_run_deletes_nothing(place: Place) -> None:
    """The file is named, no row goes, and the tenant's state is what it was."""
    name = place.names[0]
    fill_log(place, name)
    arguments = (*ARCHIVE, *OLD, "--tenant", name, "--apply", "-y")
    place.terminal.start(*arguments, env={"LEDGER_FAILPOINT": "backup.after_rename"})
    (path,) = archives(place, name)
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)
    ended = place.ended(*arguments)
    assert ended.code == 3 and path.name in ended.out
    assert ids(place, name, LOG) == [1, 2, 3, 4, 5, 6, 7]
    (row,) = place.ok("status", "--tenant", name, "--format", "json").json()["tenants"]
    assert row["state"] == "current"


def test_prefix_tenants_are_maintained_alone(
    sql_server: Server, make_database: MakeDatabase, terminal: Terminal
) -> None:
    """`--table '{prefix}log'` and `--table log` mean each tenant's own; a neighbour's rows and tables stay."""
    database = make_database(sql_server)
    socket = f"?unix_socket={sql_server.url.unix_socket}" if sql_server.url.unix_socket else ""
    url = f"mysql://{sql_server.url.user}@{sql_server.url.host}:{sql_server.url.port}/{database}{socket}"
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    terminal.write(
        "ledger.toml",
        f'migrations = "migrations/app"\n[[tenants]]\nmysql = "{url}"\n{named}'
        'prefixes = ["wp_2_", "wp_3_"]\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    terminal.write(
        "migrations/app/001_log.sql",
        "CREATE TABLE {prefix}users (id INT PRIMARY KEY);\n"
        "CREATE TABLE {prefix}log (id INT PRIMARY KEY, at TIMESTAMP NULL, who INT,"
        " FOREIGN KEY (who) REFERENCES {prefix}users (id));\n",
    )
    terminal.ok("migrate", "--all-tenants", env=env)
    for prefix in ("wp_2_", "wp_3_"):
        query(
            sql_server,
            f"INSERT INTO {prefix}log VALUES (1, '2020-01-01', NULL), (2, NOW(), NULL)",
            database=database,
        )
    arguments = ("maintain", "--task", "archive", "--column", "at", *OLD, "--apply", "-y")
    terminal.ok(*arguments, "--table", "{prefix}log", "--tenant", "wp_2", env=env)
    assert query(sql_server, "SELECT id FROM wp_2_log", database=database) == ((2,),)
    assert query(sql_server, "SELECT COUNT(*) FROM wp_3_log", database=database) == ((2,),)
    terminal.ok(*arguments, "--table", "log", "--all-tenants", env=env)
    assert query(sql_server, "SELECT id FROM wp_3_log", database=database) == ((2,),)
    terminal.ok("maintain", "--task", "optimize", "--tenant", "wp_2", env=env)
    events = terminal.ok("history", "wp_2", "--format", "jsonl", env=env).lines()
    assert [one["table"] for one in events[-1]["body"]["tables"]] == ["wp_2_log", "wp_2_users"]
    assert terminal.ok("maintain", "--task", "orphans", "--all-tenants", env=env).code == 0
