"""`validate --schema FILE`: every tenant beside a snapshot or an SQL file, and `ledger schema`."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from ledger import Ledger
from ledger.schema import decode_schema
from tests.cli.terminal import Terminal, sqlite_rows, sqlite_run
from tests.cli.test_cli_mysql import address, configure
from tests.conftest import MakeDatabase
from tests.servers import Server, left_scratch, queries

SQLITE = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'x', age INT)",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, author INT REFERENCES users (id),"
    " CHECK (author > 0), UNIQUE (author, id), UNIQUE (id, author))",
    "CREATE INDEX users_name ON users (name)",
    "CREATE VIEW names AS SELECT name FROM users",
    "CREATE TRIGGER aged AFTER INSERT ON users BEGIN SELECT 1; END",
)
# Every kind of object is missing, extra or changed once.
OTHER = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(9) DEFAULT 'y', extra INT)",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, author INT, UNIQUE (id, author))",
    "CREATE TABLE more (id INT)",
    "CREATE INDEX users_name ON users (name, id)",
    "CREATE VIEW names AS SELECT id FROM users",
)
DIFFERENCES = {
    ("column", "users.age", "missing"),
    ("column", "users.extra", "added"),
    ("column", "users.name", "changed"),
    ("check", "notes.author > 0", "missing"),
    ("foreign key", "notes.author", "missing"),
    ("index", "notes.(author, id)", "missing"),
    ("index", "users.users_name", "changed"),
    ("table", "more", "added"),
    ("trigger", "aged", "missing"),
    ("view", "names", "changed"),
}
MYSQL = """\
CREATE TABLE {prefix}users (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL DEFAULT 'x',
  age SMALLINT, KEY name (name)
) {charset_collate};
CREATE TABLE {prefix}notes (
  id INT NOT NULL PRIMARY KEY, author INT, CONSTRAINT {prefix}by_author FOREIGN KEY (author)
  REFERENCES {prefix}users (id) ON DELETE CASCADE, CONSTRAINT {prefix}positive CHECK (id > 0)
) {charset_collate};
CREATE VIEW {prefix}names AS SELECT name FROM {prefix}users;
INSERT INTO {prefix}users (name) VALUES ('rows do not count');
"""


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A folder with one migration."""
    terminal.write("migrations/app/001_base.sql", "CREATE TABLE {prefix}unrelated (id INT);\n")
    return terminal


@pytest.fixture
def files(terminal: Terminal) -> Terminal:
    """Two SQLite tenants: `good` as `schema.sql` says, `other` not; both migrated."""
    for name, statements in (("good", SQLITE), ("other", OTHER)):
        sqlite_run(terminal.folder / "data" / f"{name}.db", *statements)
    terminal.write(
        "migrations/app/001_base.sql", "CREATE TABLE IF NOT EXISTS unrelated (id INT);\n"
    )
    terminal.write(
        "ledger.toml",
        'migrations = "migrations/app"\nbackup = "never"\n[[tenants]]\nsqlite = "data/*.db"\n',
    )
    terminal.write(
        "schema.sql", "".join(f"{sql};\n" for sql in (*SQLITE, "CREATE TABLE unrelated (id INT)"))
    )
    terminal.ok("migrate", "--all-tenants")
    return terminal


def test_an_sql_file_finds_every_kind_of_difference(files: Terminal) -> None:
    """Tables, columns, indexes, foreign keys, checks, views and triggers; exit 4; the table sums up."""
    ended = files.run("validate", "--schema", "schema.sql", "--format", "json")
    assert ended.code == 4
    report = ended.json()
    good, other = report["findings"]
    assert (good["valid"], other["valid"], report["compliant"]) == (True, False, 1)
    found = {(one["kind"], one["name"], one["how"]) for one in other["changes"]}
    assert found == DIFFERENCES
    (name,) = [one for one in other["changes"] if one["name"] == "users.name"]
    assert name["expected"] == "type=TEXT nullable=False default='x'"
    assert name["found"] == "type=VARCHAR(9) nullable=True default='y'"
    assert report["differences"]["column"] == {"missing": 1, "added": 1, "changed": 1}
    out = files.run("validate", "--schema", "schema.sql").out
    assert "10 differences from schema.sql" in out
    assert "As schema.sql says: 1 of 2 tenants (check 1 missing; column 1 added, 1 changed" in out


def test_a_snapshot_does_as_well(files: Terminal) -> None:
    """What `ledger schema` prints is accepted; from Python a path does; it is no drift of migrations."""
    printed = files.ok("schema", "good", "--format", "json").out
    snapshot = files.write("schema.json", printed)
    ledger = Ledger.open(files.folder / "ledger.toml")
    report = anyio.run(partial(ledger.validate, schema=snapshot))
    assert (report.exit_code, report.compliant, report.against) == (4, 1, str(snapshot))
    assert {(one.kind, one.name, one.how) for one in report.drift[0].changes} == DIFFERENCES
    assert files.ok("validate", "--tenant", "good", "--schema", "schema.json").code == 0
    assert files.ok("validate", "--all-tenants").out.endswith("all valid.\n")
    events = files.ok("history", "other", "--format", "jsonl").lines()
    assert not any(event["type"] == "drift_detected" for event in events)
    told = [event["body"] for event in events if event["type"] == "validated"]
    assert [bool(one.get("against")) for one in told][1:] == [True, False]
    assert files.ok("status").out.count("current") >= 2


def test_schema_lists_objects(files: Terminal) -> None:
    """As a table one row an object; one tenant only."""
    out = files.ok("schema", "good").out
    assert "users.name" in out and "TEXT NOT NULL DEFAULT 'x'" in out and "trigger" in out
    assert files.run("schema", "*").code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tables": 7}', "is not a schema snapshot"),
        ("CREATE TABLE t (a TEXT DEFAULT 'x);", "schema.x:1"),
        ("-- nothing\n", "holds no statement"),
        ("CREATE TABLE {t} (a INT);", "unknown placeholder {t}"),
    ],
)
def test_a_file_that_is_neither_is_refused(files: Terminal, content: str, message: str) -> None:
    """A broken file is named, and no tenant is called valid."""
    files.write("schema.x", content)
    ended = files.run("validate", "--schema", "schema.x")
    assert ended.code in (2, 3)
    assert message in ended.err + ended.out


def test_a_schema_file_cannot_reach_other_files(files: Terminal) -> None:
    """ATTACH and VACUUM INTO are refused, and nothing is written."""
    for sql in ("ATTACH 'made.db' AS x", "VACUUM INTO 'made.db'"):
        files.write(
            "schema.sql", f"-- migrate:up transaction:false\nCREATE TABLE t (a INT);\n{sql};\n"
        )
        ended = files.run("validate", "--schema", "schema.sql")
        assert ended.code == 3 and "schema.sql:3" in ended.out
    assert not (files.folder / "made.db").exists()
    assert sqlite_rows(files.folder / "data" / "good.db", "SELECT count(*) FROM users") == [(0,)]


def test_a_missing_file_is_wrong_usage(files: Terminal) -> None:
    """Exit 2, with the file's name."""
    ended = files.run("validate", "--schema", "absent.sql")
    assert ended.code == 2 and "absent.sql" in ended.err


def test_on_servers_prefixes_are_neutral(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """One SQL file holds for every prefix; a snapshot of one tenant holds for the other."""
    database = make_database(sql_server)
    env = configure(
        terminal,
        sql_server,
        f'mysql = "{address(sql_server, database)}"\nprefixes = ["wp_2_", "wp_3_"]',
        head='backup = "never"\n',
    )
    terminal.write("migrations/app/001_base.sql", MYSQL)
    terminal.write("schema.sql", MYSQL)
    terminal.ok("migrate", "--all-tenants", env=env)
    assert (
        "As schema.sql says: 2 of 2 tenants."
        in terminal.ok("validate", "--schema", "schema.sql", env=env).out
    )
    snapshot = terminal.ok("schema", "wp_2", "--format", "json", env=env).out
    assert {one.name for one in decode_schema(snapshot.encode()).tables} == {
        "{prefix}users",
        "{prefix}notes",
    }
    terminal.write("schema.json", snapshot)
    terminal.ok("validate", "--schema", "schema.json", env=env)
    queries(
        sql_server,
        (
            "ALTER TABLE wp_3_users MODIFY name VARCHAR(41) NULL DEFAULT 'z', DROP KEY name",
            "ALTER TABLE wp_3_users ADD COLUMN extra INT, DROP COLUMN age",
            "ALTER TABLE wp_3_notes DROP FOREIGN KEY wp_3_by_author",
            "ALTER TABLE wp_3_notes DROP CONSTRAINT wp_3_positive",
            "CREATE OR REPLACE VIEW wp_3_names AS SELECT id FROM wp_3_users",
            "CREATE TRIGGER wp_3_t BEFORE INSERT ON wp_3_users FOR EACH ROW SET NEW.name = 'x'",
        ),
        database=database,
    )
    for name in ("schema.json", "schema.sql"):
        ended = terminal.run("validate", "--schema", name, "--format", "json", env=env)
        assert ended.code == 4
        first, second = ended.json()["findings"]
        assert first["valid"]
        kinds = {(one["kind"], one["how"]) for one in second["changes"]}
        assert kinds == {
            ("column", "added"),
            ("column", "missing"),
            ("column", "changed"),
            ("index", "missing"),
            ("foreign key", "missing"),
            ("check", "missing"),
            ("view", "changed"),
            ("trigger", "added"),
        }
    assert left_scratch(sql_server) == ()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP DATABASE x",
        "CREATE TABLE other.t (a INT)",
        "CALL p()",
        "SET GLOBAL x = 1",
    ],
)
def test_on_servers_a_schema_file_keeps_to_its_scratch_database(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase, sql: str
) -> None:
    """A statement that could reach further is refused with its line before anything runs."""
    database = make_database(sql_server)
    env = configure(
        terminal, sql_server, f'mysql = "{address(sql_server)}"\ndatabases = ["{database}"]'
    )
    terminal.write("migrations/app/001_base.sql", "CREATE TABLE t (id INT);\n")
    terminal.ok("migrate", "--all-tenants", env=env)
    terminal.write("schema.sql", f"CREATE TABLE t (id INT);\n{sql};\n")
    ended = terminal.run("validate", "--schema", "schema.sql", env=env)
    assert ended.code == 3 and "schema.sql:2" in ended.out and "reach beyond" in ended.out
