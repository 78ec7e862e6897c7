"""What mariadb-dump and mysqldump write is read wherever SQL is: as migration, as wish, as schema."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

from ledger.errors import ScriptError
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source
from tests.conftest import MakeDatabase
from tests.place import MakePlace, Place
from tests.servers import Server, queries

Dump = Callable[..., bytes]
SERVERS = ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]
SOURCE = (
    "CREATE TABLE users (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(60) NOT NULL, picture BLOB)",
    "INSERT INTO users (name, picture) VALUES ('ana; -- migrate:down', 0xFFD8FFE000104A46),"
    " ('O''Brien\\n-- +goose Down', NULL)",
    "CREATE TABLE orders (id INT PRIMARY KEY, user_id INT, FOREIGN KEY (user_id) REFERENCES users (id))",
    "INSERT INTO orders VALUES (1, 1)",
    "CREATE VIEW view_of_names AS SELECT id, name FROM users",
    "CREATE TRIGGER numbered BEFORE INSERT ON orders FOR EACH ROW BEGIN SET NEW.id = NEW.id + 1; SET @x = 1; END",
    "CREATE PROCEDURE twice(n INT) BEGIN SELECT n; SELECT n; END",
    "CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DO BEGIN DELETE FROM orders WHERE id = 99; END",
)  # fmt: skip


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants on a server."""
    return make_place(request.param)


@pytest.fixture
def dump(place: Place, make_database: MakeDatabase) -> Dump:
    """`dump(*options)`: the source database, by the program that belongs to the server."""
    assert place.server is not None
    server = place.server
    source = make_database(server)
    queries(server, SOURCE, database=source)

    def take(*options: str, database: str = source) -> bytes:
        return _taken(server, database, options)

    return take


def _taken(server: Server, database: str, options: tuple[str, ...]) -> bytes:
    program = shutil.which("mariadb-dump" if server.flavor == "mariadb" else "mysqldump")
    assert program is not None
    url = server.url
    where = (
        [f"--socket={url.unix_socket}"]
        if url.unix_socket
        else [f"--host={url.host}", f"--port={url.port}"]
    )
    done = subprocess.run(
        [program, "--no-defaults", *where, f"--user={url.user}", *options, database],
        check=True,
        capture_output=True,
        env=os.environ | ({"MYSQL_PWD": server.password} if server.password else {}),
    )
    # As with `2>&1 > file`: what the program warns of stands before the dump.
    return done.stderr + done.stdout


def test_a_dump_is_a_migration(place: Place, dump: Dump) -> None:
    """Rows, routines, triggers and events are those of the source; the next migration runs as ever."""
    text = dump("--routines", "--events", "--triggers", "--hex-blob")
    (place.folder / "migrations/app").mkdir(parents=True)
    (place.folder / "migrations/app/001_dump.sql").write_bytes(text)
    place.migration("002_more.sql", "INSERT INTO orders VALUES (7, 2);\n")
    place.ok("migrate", "--all-tenants")
    name = place.names[1]
    assert place.objects(name) >= {"users", "orders", "view_of_names"}
    assert place.run(name, "SELECT id, user_id FROM orders ORDER BY id") == [(1, 1), (8, 2)]
    assert place.run(name, "SELECT name, hex(picture) FROM users ORDER BY id") == [
        ("ana; -- migrate:down", "FFD8FFE000104A46"),
        ("O'Brien\n-- +goose Down", None),
    ]
    assert len(place.run(name, "SHOW EVENTS")) == 1
    assert place.run(name, "SELECT @@SESSION.sql_log_bin")[0][0] in (0, 1)
    assert "Nothing to do" in place.ok("migrate", "--all-tenants").out


def test_a_dump_is_a_schema_to_validate_against(place: Place, dump: Dump) -> None:
    """The dump of a tenant says what it has; another one's says what is missing."""
    place.migration("001_users.sql", ";\n".join(SOURCE[:1]) + ";\n")
    place.ok("migrate", "--all-tenants")
    own, other = place.folder / "own.sql", place.folder / "other.sql"
    own.write_bytes(dump("--hex-blob", database=place.names[0]))
    other.write_bytes(dump("--hex-blob", "--routines"))
    place.ok("validate", "--schema", str(own))
    ended = place.ended("validate", "--schema", str(other))
    assert ended.code == 4 and "table orders missing" in ended.out, ended


def test_the_dump_of_a_tenant_brings_no_marker_along(place: Place, dump: Dump) -> None:
    """What one tenant has, as a migration for another: that one's own marker stays."""
    place.migration("001_users.sql", SOURCE[0] + ";\n")
    first, second = place.names
    place.ok("migrate", "--tenant", first)
    text = dump("--hex-blob", database=first)
    assert b"ledger_marker" in text
    (place.folder / "migrations/app/001_users.sql").write_bytes(text)
    place.ok("migrate", "--tenant", second)
    assert place.objects(second) == {"mine", "users"}
    assert place.ended("validate", "--tenant", second).code == 0
    place.migration("002_more.sql", SOURCE[1] + ";\n")
    place.ok("migrate", "--tenant", second)
    assert place.run(second, "SELECT count(*) FROM users") == [(2,)]


def test_the_tables_of_a_dump_are_a_wish(place: Place, dump: Dump) -> None:
    """Settings and DROPs are left out, and a table comes behind those that it refers to."""
    source = dump("--no-data", "--skip-triggers").decode()
    table = source.index(
        "-- Temporary table structure" if "Temporary table" in source else "-- Temporary view"
    )
    place.migration("001_wish.sql", "-- migrate:sync\n" + source[:table])
    place.ok("migrate", "--all-tenants")
    name = place.names[0]
    assert place.objects(name) >= {"users", "orders"}
    assert "REFERENCES `users`" in str(place.run(name, "SHOW CREATE TABLE orders"))
    place.migration("001_wish.sql", "-- migrate:sync\n" + source)
    ended = place.ended("lint")
    assert "section sync" in ended.out and "--ignore-table" in ended.out, ended


def test_a_dump_with_the_bytes_of_columns_is_taken_anew(place: Place, dump: Dump) -> None:
    """Saving it as UTF-8 would corrupt it: the hint names the option, wherever the file is read."""
    path = place.folder / "migrations/app/001_dump.sql"
    path.parent.mkdir(parents=True)
    for options in ((), ("--skip-comments",), ("--compact",)):
        path.write_bytes(dump(*options))
        ended = place.ended("migrate", "--all-tenants")
        assert ended.code == 2 and "--hex-blob" in ended.err and "UTF-8 and" not in ended.err
    path.write_text("SELECT 1;\n")
    place.ok("migrate", "--all-tenants")
    (place.folder / "schema.sql").write_bytes(dump())
    assert "--hex-blob" in place.ended("validate", "--schema", "schema.sql").err


def test_a_dump_of_databases_by_name_is_refused(place: Place, dump: Dump) -> None:
    """It would leave the tenant: the hint says how to take it."""
    path = place.folder / "migrations/app/001_dump.sql"
    path.parent.mkdir(parents=True)
    path.write_bytes(dump("--hex-blob", "--databases"))
    ended = place.ended("migrate", "--all-tenants")
    assert ended.code == 2 and "without --databases" in ended.err


HEADS = {
    "mariadb-dump 11.8": (
        "WARNING: option --ssl-verify-server-cert is disabled, because of an insecure passwordless login.\n"
        "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19-11.8.3-MariaDB\n"
        "/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;\n"
        "LOCK TABLES `a` WRITE;\n/*!40000 ALTER TABLE `a` DISABLE KEYS */;\nset autocommit=0;\n",
        "/*!40000 ALTER TABLE `a` ENABLE KEYS */;\nUNLOCK TABLES;\ncommit;\n"
        "/*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;\n",
        2,
    ),
    "an older one": ("/*!999999\\- enable the sandbox mode */\n", "", 0),
    "in one piece with a warning": (
        "mysqldump: [Warning] Using a password on the command line interface can be insecure.\n"
        "-- MySQL dump 10.13\nSET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;\n"
        "SET @@SESSION.SQL_LOG_BIN= 0;\nSET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-5,\nb:1-7';\n"
        "CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='a', SOURCE_LOG_POS=4;\n",
        "SET @@SESSION.SQL_LOG_BIN = @MYSQLDUMP_TEMP_LOG_BIN;\n",
        0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_what_is_for_the_client_or_for_replication_is_left_out(name: str) -> None:
    """And what a person writes is not: a lock or a COMMIT outside of a dump is a step."""
    head, tail, settings = HEADS[name]
    source = read_source(f"{head}INSERT INTO a VALUES (1);\n{tail}".encode(), file="001_a.sql")
    steps = parse_migration(source, "mysql", set_name="app").up.steps
    assert sum("INSERT" in one.sql for one in steps) == 1 and len(steps) == 1 + settings
    assert not any("LOCK" in one.sql or "GTID" in one.sql or "LOG_BIN" in one.sql for one in steps)
    written = read_source(b"LOCK TABLES a WRITE;\nCOMMIT;\nUNLOCK TABLES;\n", file="001_a.sql")
    assert len(parse_migration(written, "mysql", set_name="app").up.steps) == 3


def test_a_wish_keeps_its_order_but_for_what_is_referred_to() -> None:
    """A table comes behind those of its foreign keys; tables in a circle stay as they are written."""
    tables = {
        "a": "CREATE TABLE a (id INT, b INT, FOREIGN KEY (b) REFERENCES `b` (id));",
        "b": "CREATE TABLE IF NOT EXISTS b (id INT, FOREIGN KEY (id) REFERENCES c (id));",
        "c": "CREATE TABLE c (id INT, FOREIGN KEY (id) REFERENCES B (id), KEY (id));",
        "d": "CREATE TABLE d (id INT, up INT, FOREIGN KEY (up) REFERENCES d (id));",
        "i": "CREATE INDEX i ON d (up);",
    }
    text = "-- migrate:sync\n" + "\n".join(tables.values())
    found = parse_migration(read_source(text.encode(), file="001_a.sql"), "mysql", set_name="app")
    assert [one.sql.split("(")[0].split()[-1] for one in found.sync] == ["c", "b", "a", "d", "d"]
    assert [one.number for one in found.sync] == [1, 2, 3, 4, 5]


def test_a_drop_without_its_create_is_no_part_of_a_wish() -> None:
    """Only the one that a dump writes before a CREATE TABLE is left out."""
    text = "-- migrate:sync\nDROP TABLE IF EXISTS a;\nCREATE TABLE b (id INT);\n"
    with pytest.raises(ScriptError, match="DROP stands in the section sync") as caught:
        parse_migration(read_source(text.encode(), file="001_a.sql"), "mysql", set_name="app")
    assert caught.value.line == 2
