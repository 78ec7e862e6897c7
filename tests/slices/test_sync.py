"""`-- migrate:sync`: what a tenant lacks of the CREATE statements is added, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger
from ledger import events as ev
from ledger.events import Recorded
from ledger.runner.outcome import Outcome
from tests.cli.terminal import Terminal, sqlite_rows, sqlite_run
from tests.cli.test_cli_mysql import address, columns, configure
from tests.conftest import MakeDatabase
from tests.servers import Server, left_scratch, queries, query

WISH = """\
-- migrate:sync
CREATE TABLE notes (
  id INTEGER PRIMARY KEY,
  body VARCHAR(200) NOT NULL DEFAULT 'none', -- what was written
  tag TEXT REFERENCES tags (name)
);
CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY);
CREATE INDEX notes_tag ON notes (tag);
"""
# As WordPress writes it: two spaces here, one there, small letters, an integer's width.
DELTA = """\
-- migrate:sync
CREATE TABLE {prefix}notes (
  id bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  body varchar(200) NOT NULL DEFAULT 'it''s, none',
  Rating SMALLINT not null default 0,
  tag_id bigint unsigned NULL,
  PRIMARY KEY  (id),
  KEY  tag (tag_id),
  UNIQUE KEY body_tag (body(50), tag_id),
  index rating (rating)
) {charset_collate};
create table if not exists {prefix}tags (
  id bigint unsigned not null auto_increment,
  name varchar(191) not null,
  primary key (id),
  unique key name (name)
) {charset_collate};
"""


def sqlite_fleet(terminal: Terminal, *statements: str) -> Path:
    """One SQLite tenant `a`, made by these statements; returns its file."""
    path = terminal.folder / "data" / "a.db"
    sqlite_run(path, *statements)
    terminal.write(
        "ledger.toml",
        'migrations = "migrations"\nbackup = "never"\n[[tenants]]\nsqlite = "data/*.db"\n',
    )
    return path


async def migrated(terminal: Terminal) -> Outcome:
    """One tenant's outcome of a run."""
    run = await Ledger.open(terminal.folder / "ledger.toml").migrate()
    (outcome,) = run.outcomes
    assert outcome.ok, outcome
    return outcome


async def history(terminal: Terminal, tenant: str) -> list[Recorded]:
    """The tenant's events."""
    ledger = Ledger.open(terminal.folder / "ledger.toml")
    return [row async for row in ledger.history(tenant)]


def applied(rows: list[Recorded]) -> list[str]:
    """The names of the steps that were applied."""
    return [row.data.name for row in rows if isinstance(row.data, ev.StepApplied)]


def drifted(rows: list[Recorded]) -> dict[str, tuple[str, str]]:
    """What sync told as drift: how it differs and what was found, by name."""
    return {
        change.name: (change.how, change.found)
        for row in rows
        if isinstance(row.data, ev.DriftDetected) and row.data.wish
        for change in row.data.changes
    }


class TestSqlite:
    """A file."""

    async def test_missing_tables_columns_and_indexes_are_added(self, terminal: Terminal) -> None:
        """What is there stays, rows and extra columns included; the definition is as it was written."""
        path = sqlite_fleet(
            terminal,
            "CREATE TABLE Notes (id INTEGER PRIMARY KEY, mine TEXT)",
            "INSERT INTO notes (mine) VALUES ('kept')",
        )
        terminal.write("migrations/001_notes.sql", WISH)
        outcome = await migrated(terminal)
        assert (outcome.steps, outcome.warnings) == (4, ())
        assert sqlite_rows(path, "SELECT * FROM notes") == [(1, "kept", "none", None)]
        ((text,),) = sqlite_rows(path, "SELECT sql FROM sqlite_master WHERE name = 'Notes'")
        assert "body VARCHAR(200) NOT NULL DEFAULT 'none'" in text
        assert applied(await history(terminal, "a")) == [
            "Sync: CREATE TABLE tags",
            "Sync: add column Notes.body",
            "Sync: add column Notes.tag",
            "Sync: CREATE INDEX notes_tag ON notes",
        ]

    async def test_the_same_wish_again_runs_nothing(self, terminal: Terminal) -> None:
        """A later migration with the same wish completes without a step."""
        sqlite_fleet(terminal)
        terminal.write("migrations/001_notes.sql", WISH)
        assert (await migrated(terminal)).steps == 3
        terminal.write(
            "migrations/002_notes.sql", WISH.replace("CREATE TABLE notes", "create  table NOTES")
        )
        outcome = await migrated(terminal)
        assert (outcome.steps, outcome.warnings, outcome.version) == (0, (), "002")

    async def test_up_runs_before_sync(self, terminal: Terminal) -> None:
        """A column that up renames is not added; steps are numbered through."""
        path = sqlite_fleet(
            terminal, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text VARCHAR(200))"
        )
        terminal.write(
            "migrations/001_notes.sql",
            "-- migrate:up\nALTER TABLE notes RENAME COLUMN text TO body;\n" + WISH,
        )
        await migrated(terminal)
        names = [row[0] for row in sqlite_rows(path, "SELECT name FROM pragma_table_info('notes')")]
        assert names == ["id", "body", "tag"]
        steps = [row.data for row in await history(terminal, "a")]
        counted = [(one.step, one.of) for one in steps if isinstance(one, ev.StepApplied)]
        assert counted == [(1, 4), (2, 4), (3, 4), (4, 4)]

    @pytest.mark.parametrize("option", ["", " transaction:false"])
    async def test_a_refused_statement_names_file_and_line(
        self, terminal: Terminal, option: str
    ) -> None:
        """A wish that SQLite refuses fails the tenant; corrected, the same command goes on."""
        path = sqlite_fleet(terminal)
        text = f"-- migrate:up{option}\nCREATE TABLE other (id INT);\n"
        text += "-- migrate:sync\nCREATE TABLE t (id INT, KEY (id));\n"
        file = terminal.write("migrations/001_t.sql", text)
        run = await Ledger.open(terminal.folder / "ledger.toml").migrate()
        (outcome,) = run.outcomes
        assert (outcome.error, outcome.line) == ("step_failed", 4)
        file.write_text(text.replace(", KEY (id)", ""))
        await migrated(terminal)
        tables = sqlite_rows(path, "SELECT name FROM sqlite_master WHERE name IN ('t', 'other')")
        assert sorted(tables) == [("other",), ("t",)]

    async def test_what_cannot_be_brought_about_is_drift(self, terminal: Terminal) -> None:
        """Other types, defaults, keys, checks and indexes are told once, left alone, and no failure."""
        path = sqlite_fleet(
            terminal,
            "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b INT DEFAULT 1, c INT, d VARCHAR(9))",
            "CREATE INDEX t_a ON t (a)",
        )
        terminal.write(
            "migrations/001_t.sql",
            "-- migrate:sync\n"
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT DEFAULT 2, c INT NOT NULL UNIQUE,"
            " d VARCHAR(200), CHECK (c > 0), FOREIGN KEY (c) REFERENCES t (id));\n"
            "CREATE INDEX t_a ON t (a, b);\n",
        )
        before = sqlite_rows(path, "SELECT sql FROM sqlite_master WHERE name IN ('t', 't_a')")
        outcome = await migrated(terminal)
        assert outcome.steps == 0
        assert (
            sqlite_rows(path, "SELECT sql FROM sqlite_master WHERE name IN ('t', 't_a')") == before
        )
        told = drifted(await history(terminal, "a"))
        assert set(told) == {"t.id", "t.a", "t.b", "t.c", "t.t_a", "t.c > 0"}
        assert len(outcome.warnings) == 8
        assert (
            "migrations/001: sync leaves index t.t_a as it is ((a)); the desired schema has (a, b)"
            in "\n".join(outcome.warnings)
        )
        status = await Ledger.open(terminal.folder / "ledger.toml").status()
        assert status.summary == {"current": 1}

    @pytest.mark.parametrize(
        ("option", "points"),
        [
            ("", ["engine.in_transaction", "engine.before_marker", "engine.after_commit"]),
            (
                " transaction:false",
                ["engine.before_begin:2", "engine.before_marker:2", "engine.after_marker:2"],
            ),
        ],
    )
    async def test_a_killed_run_ends_with_every_statement_once(
        self, terminal: Terminal, option: str, points: list[str]
    ) -> None:
        """Killed wherever a statement begins or lands: the same command brings it to its end."""
        path = sqlite_fleet(terminal, "CREATE TABLE notes (id INTEGER PRIMARY KEY)")
        first = f"-- migrate:up{option}\nCREATE TABLE before_it (id INT);\n"
        terminal.write("migrations/001_notes.sql", first + WISH)
        for point in points:
            ended = terminal.start("migrate", "--all-tenants", env={"LEDGER_FAILPOINT": point})
            assert ended.code < 0, (point, ended)
        await Ledger.open(terminal.folder / "ledger.toml").migrate()
        names = [row[0] for row in sqlite_rows(path, "SELECT name FROM pragma_table_info('notes')")]
        assert names == ["id", "body", "tag"]
        rows = [row.data for row in await history(terminal, "a")]
        steps = [one for one in rows if isinstance(one, ev.StepApplied)]
        assert [one.step for one in steps] == [1, 2, 3, 4, 5]
        assert len({one.statement for one in steps}) == 5
        assert sum(isinstance(one, ev.Completed) for one in rows) == 1

    def test_plan_prints_the_statements_of_each_tenant(self, terminal: Terminal) -> None:
        """`plan -v` shows what would run here, changes nothing, and names the drift to come."""
        path = sqlite_fleet(terminal, "CREATE TABLE notes (id INTEGER PRIMARY KEY, body INT)")
        terminal.write("migrations/001_notes.sql", WISH)
        before = path.read_bytes()
        out = terminal.ok("plan", "-v").out
        assert 'ALTER TABLE "notes" ADD COLUMN tag TEXT REFERENCES tags (name)' in out
        assert "sync leaves column notes.body as it is" in out
        assert path.read_bytes() == before
        (tenant,) = terminal.ok("plan", "--format", "json").json()["tenants"]
        assert [one["name"] for one in tenant["migrations"][0]["steps"]] == [
            "Sync: CREATE TABLE tags",
            "Sync: add column notes.tag",
            "Sync: CREATE INDEX notes_tag ON notes",
        ]


def mysql_rows(server: Server, database: str, table: str) -> dict[str, tuple[Any, ...]]:
    """Type, nullability and default by column."""
    rows = query(
        server,
        "SELECT column_name, column_type, is_nullable, column_default"
        " FROM information_schema.columns"
        f" WHERE table_schema = '{database}' AND table_name = '{table}' ORDER BY ordinal_position",
    )
    return {str(row[0]): row[1:] for row in rows}


@pytest.fixture
def tenant(
    terminal: Terminal,
    sql_server: Server,
    make_database: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A database that two prefixes share; the tenant is `wp_2_`, and `DELTA` is its wish."""
    database = make_database(sql_server)
    env = configure(
        terminal,
        sql_server,
        f'mysql = "{address(sql_server, database)}"\nprefixes = ["wp_2_"]',
        head='backup = "never"\n',
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    terminal.write("migrations/app/001_notes.sql", DELTA)
    return database


class TestServers:
    """A prefix in a database."""

    async def test_dbdelta_adds_and_widens(
        self, terminal: Terminal, sql_server: Server, tenant: str
    ) -> None:
        """Tables, columns and keys come as written; types grow; rows, extras and neighbours stay."""
        queries(
            sql_server,
            (
                "CREATE TABLE wp_2_notes (id bigint(20) unsigned NOT NULL AUTO_INCREMENT,"
                " body varchar(20) NOT NULL DEFAULT 'it''s, none', mine INT, rating TINYINT NOT NULL"
                " DEFAULT 0, PRIMARY KEY (id))",
                "INSERT INTO wp_2_notes (body, mine) VALUES ('kept', 7)",
                "CREATE TABLE wp_3_notes (id INT)",
            ),
            database=tenant,
        )
        outcome = await migrated(terminal)
        assert (outcome.steps, outcome.warnings) == (7, ())
        assert applied(await history(terminal, "wp_2")) == [
            "Sync: CREATE TABLE wp_2_tags",
            "Sync: widen column wp_2_notes.body",
            "Sync: widen column wp_2_notes.rating",
            "Sync: add column wp_2_notes.tag_id",
            "Sync: add index wp_2_notes.body_tag",
            "Sync: add index wp_2_notes.rating",
            "Sync: add index wp_2_notes.tag",
        ]
        found = mysql_rows(sql_server, tenant, "wp_2_notes")
        assert list(found) == ["id", "body", "mine", "rating", "tag_id"]
        assert found["body"][0] == "varchar(200)"
        assert found["rating"][0].startswith("smallint")
        assert columns(sql_server, tenant, "wp_2_tags") == ["id", "name"]
        assert columns(sql_server, tenant, "wp_3_notes") == ["id"]
        assert query(sql_server, "SELECT body, mine FROM wp_2_notes", database=tenant) == (
            ("kept", 7),
        )
        assert left_scratch(sql_server) == ()
        terminal.write("migrations/app/002_again.sql", DELTA)
        again = await migrated(terminal)
        assert (again.version, again.warnings) == ("002", ())
        assert len(applied(await history(terminal, "wp_2"))) == 7

    async def test_nothing_is_narrowed_and_drift_is_told(
        self, terminal: Terminal, sql_server: Server, tenant: str
    ) -> None:
        """Narrower types, other keys, defaults and foreign keys stay; a wider type takes nothing along."""
        queries(
            sql_server,
            (
                "CREATE TABLE wp_2_notes (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,"
                " body varchar(500) NULL DEFAULT 'other', rating TINYINT NULL DEFAULT 3,"
                " tag_id bigint unsigned, KEY tag (rating))",
                "CREATE TABLE wp_2_tags (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,"
                " name varchar(191) NOT NULL, UNIQUE KEY name (name))",
            ),
            database=tenant,
        )
        text = DELTA.replace(
            "index rating (rating)",
            "index rating (rating), constraint tagged foreign key (tag_id) references {prefix}tags (id)",
        )
        terminal.write("migrations/app/001_notes.sql", text)
        outcome = await migrated(terminal)
        found = mysql_rows(sql_server, tenant, "wp_2_notes")
        assert found["body"][:2] == ("varchar(500)", "YES")
        assert found["rating"][0].startswith("smallint")
        assert (found["rating"][1], str(found["rating"][2])) == ("YES", "3")
        told = drifted(await history(terminal, "wp_2"))
        assert set(told) == {
            "{prefix}notes.body",
            "{prefix}notes.rating",
            "{prefix}notes.tag",
            "{prefix}notes.tagged",
        }
        assert told["{prefix}notes.tag"] == ("changed", "(rating)")
        assert len(outcome.warnings) == 4

    async def test_a_killed_run_ends_with_every_statement_once(
        self, terminal: Terminal, sql_server: Server, tenant: str
    ) -> None:
        """Killed after an intent, and again after a statement: the same command brings it to its end."""
        queries(
            sql_server,
            ("CREATE TABLE wp_2_notes (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY)",),
            database=tenant,
        )
        for point in ("engine.after_intent:2", "engine.after_statement:2", "engine.after_marker"):
            ended = terminal.start("migrate", "--all-tenants", env={"LEDGER_FAILPOINT": point})
            assert ended.code < 0, (point, ended)
        outcome = await migrated(terminal)
        assert outcome.warnings == ()
        assert set(mysql_rows(sql_server, tenant, "wp_2_notes")) == {
            "id",
            "body",
            "Rating",
            "tag_id",
        }
        rows = await history(terminal, "wp_2")
        steps = [row.data for row in rows if isinstance(row.data, ev.StepApplied)]
        assert [one.step for one in steps] == list(range(1, len(steps) + 1))
        assert len({one.statement for one in steps}) == len(steps) == 7
        assert left_scratch(sql_server) == ()

    async def test_without_the_right_to_make_a_database_nothing_is_changed(
        self,
        terminal: Terminal,
        sql_server: Server,
        tenant: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The tenant fails, the hint is the GRANT that helps, and with it the same command works."""
        account = f"u_{tenant}"
        query(sql_server, f"CREATE USER {account} IDENTIFIED BY 'pw-{tenant}'")
        try:
            query(sql_server, f"GRANT ALL ON `{tenant}`.* TO {account}")
            query(sql_server, f"REVOKE CREATE TEMPORARY TABLES ON `{tenant}`.* FROM {account}")
            url = address(sql_server, tenant).replace(f"//{sql_server.url.user}@", f"//{account}@")
            monkeypatch.setenv("TEST_PASSWORD", f"pw-{tenant}")
            terminal.write(
                "ledger.toml",
                'migrations = "migrations/app"\nbackup = "never"\n[[tenants]]\n'
                f'mysql = "{url}"\nprefixes = ["wp_2_"]\npassword_env = "TEST_PASSWORD"\n',
            )
            queries(sql_server, ("CREATE TABLE wp_2_notes (id INT)",), database=tenant)
            run = await Ledger.open(terminal.folder / "ledger.toml").migrate()
            (outcome,) = run.outcomes
            assert not outcome.ok and "scratch database" in outcome.message
            grant = outcome.hint.partition("GRANT ")[2].partition(" TO ")[0]
            assert columns(sql_server, tenant, "wp_2_tags") == []
            queries(sql_server, ("DROP TABLE wp_2_notes",), database=tenant)
            query(sql_server, f"GRANT {grant} TO {account}")
            await migrated(terminal)
            assert columns(sql_server, tenant, "wp_2_tags") == ["id", "name"]
        finally:
            query(sql_server, f"DROP USER {account}")

    def test_plan_reads_the_tenant_only(
        self, terminal: Terminal, sql_server: Server, tenant: str
    ) -> None:
        """`plan -v` prints the statements with the tenant's own names, and makes nothing there."""
        queries(
            sql_server,
            ("CREATE TABLE wp_2_notes (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY)",),
            database=tenant,
        )
        out = terminal.ok("plan", "-v").out
        assert "ALTER TABLE `wp_2_notes` ADD COLUMN `body` varchar(200)" in out
        assert "create table if not exists wp_2_tags" in out
        assert columns(sql_server, tenant, "wp_2_notes") == ["id"]
        assert columns(sql_server, tenant, "wp_2_tags") == []

    async def test_a_table_without_the_prefix_is_refused(
        self, terminal: Terminal, sql_server: Server, tenant: str
    ) -> None:
        """A wish outside the tenant's prefix fails it, with the line, before anything is made."""
        terminal.write("migrations/app/001_notes.sql", DELTA.replace("{prefix}tags", "tags"))
        run = await Ledger.open(terminal.folder / "ledger.toml").migrate()
        (outcome,) = run.outcomes
        assert (outcome.error, outcome.line) == ("step_failed", 12)
        assert columns(sql_server, tenant, "wp_2_notes") == []
