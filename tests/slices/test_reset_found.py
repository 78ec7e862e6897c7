"""`reset --drop-all` and objects that were there before the migration: the application's stay."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

QUIET = (
    "SET lc_messages = 'de_DE'",
    "SET sql_notes = 0",
    "/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */",
    "SET max_error_count = 0",
)
"""What changes or hides the server's note about an object that is there already; dumps begin with the third."""
SERVERS = ("mariadb", pytest.param("mysql", marks=pytest.mark.mysql))
FOUND = """\
CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS own (id INTEGER PRIMARY KEY);
"""


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants; the first has a table `shared` of the application's."""
    place = make_place(request.param)
    place.run(place.names[0], "CREATE TABLE shared (id INTEGER PRIMARY KEY)")
    return place


def drop_all(place: Place, tenant: str) -> None:
    """Reset one tenant."""
    place.ok("reset", "--drop-all", "--tenant", tenant, "--yes-drop", tenant)


@pytest.mark.parametrize("place", SERVERS, indirect=True)
@pytest.mark.parametrize("setting", QUIET)
def test_what_the_server_does_not_say_in_english_is_known(place: Place, setting: str) -> None:
    """Whether a table was there before is asked, and not read from the words of a warning."""
    first, second = place.names
    place.migration("001_found.sql", f"{setting};\n{FOUND}")
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


@pytest.mark.parametrize("place", SERVERS, indirect=True)
def test_a_setting_of_the_configuration_hides_nothing(place: Place) -> None:
    """The same for the tenants' own `session`."""
    first = place.names[0]
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text() + "session = [\"SET lc_messages = 'de_DE'\"]\n")
    place.migration("001_found.sql", FOUND)
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}


def test_a_secret_step_has_no_warnings_and_is_known(place: Place) -> None:
    """`-- secret` withholds the database's words; whether the table was there is no secret."""
    first, second = place.names
    place.migration("001_found.sql", f"-- secret\n{FOUND}")
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


def test_words_in_a_comment_are_no_guard(place: Place) -> None:
    """Neither a comment with IF NOT EXISTS nor a long one before it changes what a statement is."""
    first, second = place.names
    long = "-- IF NOT EXISTS\n/* " + "x" * 400 + " */\n"
    place.migration(
        "001_found.sql",
        "CREATE TABLE /* IF NOT EXISTS */ own (id INTEGER PRIMARY KEY);\n"
        f"CREATE {long} TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY);\n",
    )
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


@pytest.mark.parametrize("place", SERVERS, indirect=True)
def test_what_was_replaced_was_there_before(place: Place) -> None:
    """CREATE OR REPLACE of the application's view does not make it the migration's own."""
    first, second = place.names
    place.run(first, "CREATE VIEW seen AS SELECT id FROM mine")
    place.migration(
        "001_view.sql", "CREATE OR REPLACE VIEW seen AS SELECT id + 1 AS id FROM mine;\n"
    )
    place.ok("migrate", "--all-tenants")
    place.migration(
        "002_view.sql", "CREATE OR REPLACE VIEW seen AS SELECT id + 2 AS id FROM mine;\n"
    )
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared", "seen"}
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
def test_an_index_that_was_there_stays(place: Place) -> None:
    """MariaDB: the same for CREATE INDEX IF NOT EXISTS, whose name counts with its table."""
    first, second = place.names
    place.run(first, "CREATE INDEX by_id ON mine (id)")
    place.run(second, "CREATE TABLE other (id INT, KEY by_id (id))")
    place.migration(
        "001_index.sql", "SET sql_notes = 0;\nCREATE INDEX IF NOT EXISTS by_id ON mine (id);\n"
    )
    place.ok("migrate", "--all-tenants")
    for name in place.names:
        drop_all(place, name)
    assert len(place.run(first, "SHOW INDEX FROM mine")) == 2
    assert len(place.run(second, "SHOW INDEX FROM mine")) == 1


PYTHON = """\
async def up(tenant):
    await tenant.execute("CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY)")
    await tenant.execute("CREATE TABLE old_name (id INTEGER PRIMARY KEY)")
    await tenant.execute("CREATE INDEX old_id ON old_name (id)")
    await tenant.execute("CREATE INDEX mine_id ON mine (id)")
    await tenant.execute("ALTER TABLE old_name RENAME TO own")
    await tenant.execute("CREATE VIEW seen AS SELECT id FROM own")
    await tenant.execute("ALTER TABLE mine ADD COLUMN more INTEGER")
    await tenant.execute("INSERT INTO mine (id) VALUES (7)")
"""


def python_migration(place: Place) -> None:
    """A migration in Python whose version.json calls all that it works with created."""
    config = place.folder / "ledger.toml"
    config.write_text("allow_python = true\n" + config.read_text())
    place.migration("001_python.py", PYTHON)
    place.migration("version.json", '{"001": {"tables_created": ["shared", "own", "mine"]}}')


def test_what_a_python_migration_only_touched_stays(place: Place) -> None:
    """What its statements made goes; what they found or changed stays, whatever version.json says."""
    first, second = place.names
    python_migration(place)
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
    assert place.run(first, "SELECT id, more FROM mine") == [(7, None)]
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


def test_a_python_migration_that_stopped_half_way(place: Place) -> None:
    """The same after a failure in its middle; on SQLite nothing of it is there."""
    first, second = place.names
    python_migration(place)
    place.migration("001_python.py", PYTHON + '    await tenant.execute("SELECT nothing")\n')
    assert place.ended("migrate", "--all-tenants").code == 3
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


@pytest.mark.parametrize("place", SERVERS, indirect=True)
@pytest.mark.parametrize("point", ["engine.after_statement:1", "engine.after_statement:2"])
def test_a_python_migration_that_was_killed_and_went_on(place: Place, point: str) -> None:
    """What was announced as found, or as made, is known as that after the step is settled."""
    first, second = place.names
    python_migration(place)
    for name in place.names:
        place.terminal.start("migrate", "--tenant", name, env={"LEDGER_FAILPOINT": point})
    place.ok("migrate", "--all-tenants")
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
    drop_all(place, second)
    assert place.objects(second) == {"mine"}


def test_what_version_json_calls_created_and_no_statement_creates_stays(place: Place) -> None:
    """Of a file of SQL: what it fills is the application's; what it calls may create what is named."""
    first = place.names[0]
    said = {"001": {"tables_created": ["mine"]}}
    place.migration("001_fill.sql", "INSERT INTO mine (id) VALUES (7);\n")
    if place.engine != "sqlite":
        place.run(first, "CREATE PROCEDURE make() CREATE TABLE called (id INT)")
        place.migration("002_call.sql", "CALL make();\n")
        said["002"] = {"tables_created": ["called"]}
    place.migration("version.json", json.dumps(said))
    place.ok("migrate", "--tenant", first)
    assert ("called" in place.objects(first)) == (place.engine != "sqlite")


def test_a_ledger_put_back_from_a_copy_does_not_forget_what_was_found(place: Place) -> None:
    """What only the marker still knows of a settled migration keeps the application's table, and no more."""
    first, second = place.names
    ledger = place.folder / "ledger.db"
    desired = "-- migrate:sync\nCREATE TABLE wanted (id INTEGER PRIMARY KEY);\n"
    found = place.migration("001_found.sql", FOUND + desired)
    place.migration("002_last.sql", "CREATE TABLE two (id INTEGER PRIMARY KEY);")
    place.ok("migrate", "--tenant", second)
    copy = shutil.copy(ledger, place.folder / "copy.db")
    place.ok("migrate", "--all-tenants")
    for left in place.folder.glob("ledger.db-*"):
        left.unlink()
    shutil.copy(copy, ledger)
    found.unlink()
    drop_all(place, first)
    assert place.objects(first) == {"mine", "shared"}
