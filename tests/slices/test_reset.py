"""`reset`: to a version by undoing, by the records alone, and by dropping what migrations created."""

from __future__ import annotations

import os
import signal

import pytest

from ledger.errors import UsageError
from tests import programs
from tests.conftest import MakeDatabase
from tests.place import WITH_MYSQL, MakePlace, Place
from tests.programs import LEDGER
from tests.servers import Server, query

FIRST = """\
CREATE TABLE parents (id INTEGER PRIMARY KEY);
CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER, FOREIGN KEY (parent) REFERENCES parents (id));
CREATE INDEX children_parent ON children (parent);
CREATE INDEX mine_id ON mine (id);
CREATE VIEW family AS SELECT children.id FROM children JOIN parents ON parents.id = children.parent;
INSERT INTO parents (id) VALUES (1);
INSERT INTO children (id, parent) VALUES (1, 1);
"""
SECOND = """\
CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY);
CREATE TABLE temp_name (id INTEGER PRIMARY KEY);
ALTER TABLE temp_name RENAME TO renamed;
-- migrate:down
DROP TABLE renamed;
"""


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants with two migrations applied; both have a table of the application's own, and
    the first one has `shared` too."""
    place = make_place(request.param)
    place.run(place.names[0], "CREATE TABLE shared (id INTEGER PRIMARY KEY)")
    place.migration("001_first.sql", FIRST)
    place.migration("002_second.sql", SECOND)
    place.ok("migrate", "--all-tenants")
    return place


def test_drop_all_drops_what_migrations_created_and_nothing_else(place: Place) -> None:
    """The application's tables stay, also one that IF NOT EXISTS found; a backup is taken; migrate
    applies everything again."""
    first, second = place.names
    everything = {"mine", "shared", "parents", "children", "family", "renamed"}
    assert place.objects(first) == place.objects(second) == everything
    plan = place.ok("reset", "--drop-all", "--all-tenants", "--dry-run", "--format", "json").json()
    assert plan[0]["drops"][0] == "view family"
    assert plan[0]["drops"].index("table children") < plan[0]["drops"].index("table parents")
    assert "table shared" not in plan[0]["drops"] and "table shared" in plan[1]["drops"]
    assert place.objects(first) == everything

    dropped = [*("--yes-drop", first), *("--yes-drop", second)]
    told = place.ok("reset", "--drop-all", "--all-tenants", *dropped, "--reason", "start anew")
    assert "2 reset" in told.out
    assert place.objects(first) == {"mine", "shared"}
    assert place.objects(second) == {"mine"}
    types = [event["type"] for event in place.events(first)]
    assert types[-3:] == ["started", "backup_created", "reset"]
    event = place.events(first, "reset")[0]["body"]
    assert event["mode"] == "drop_all" and event["reason"] == "start anew"
    assert event["dropped"][0] == "family" and "applied" not in event
    status = place.ok("status", "--format", "json").json()
    assert {row["state"] for row in status["tenants"]} == {"pending"}

    assert "2 migrated" in place.ok("migrate", "--all-tenants").out
    assert place.objects(first) == place.objects(second) == everything
    assert place.run(first, "SELECT count(*) FROM family") == [(1,)]
    place.ok("validate")
    place.ok("verify")


def test_what_sync_created_is_dropped_and_what_it_found_is_not(place: Place) -> None:
    """Of a wished schema only the tables that were missing are the migration's own."""
    first, second = place.names
    place.run(second, "CREATE TABLE wished (id INTEGER PRIMARY KEY)")
    place.migration(
        "003_wish.sql",
        "-- migrate:sync\nCREATE TABLE wished (id INTEGER PRIMARY KEY);\n"
        "CREATE INDEX wished_id ON wished (id);\n",
    )
    place.ok("migrate", "--all-tenants")
    dropped = [*("--yes-drop", first), *("--yes-drop", second)]
    place.ok("reset", "--drop-all", "--all-tenants", *dropped)
    assert place.objects(first) == {"mine", "shared"}
    assert place.objects(second) == {"mine", "wished"}
    place.ok("migrate", "--all-tenants")


def test_the_backup_before_a_drop_brings_all_of_it_back(place: Place) -> None:
    """What was dropped is in the backup, rows and all, and so is what counted as applied."""
    first = place.names[0]
    place.run(first, "INSERT INTO parents (id) VALUES (7)")
    place.ok("reset", "--drop-all", "--tenant", first, "--yes-drop", first)
    place.ok("restore", "--tenant", first, "-y")
    assert place.run(first, "SELECT count(*) FROM parents") == [(2,)]
    rows = place.ok("status", "--format", "json").json()["tenants"]
    assert rows[0]["applied"] == ["001", "002"]


def test_a_drop_asks_for_each_name(place: Place) -> None:
    """-y is not enough, and a name that is missing refuses the whole command."""
    first, second = place.names
    assert place.ended("reset", "--drop-all", "--all-tenants", "-y").code == 2
    ended = place.ended("reset", "--drop-all", "--all-tenants", "--yes-drop", first)
    assert ended.code == 2 and second in ended.err
    assert "parents" in place.objects(first)
    assert place.ended("reset", "--drop-all", "--to", "001", "--tenant", first).code == 2


def typed(place: Place, words: str, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and type `words`; its exit code and all it wrote."""
    terminal, inside = os.openpty()
    os.write(terminal, f"{words}\n".encode())
    process = programs.start(LEDGER, *arguments, cwd=place.folder, stdin=inside, output=inside)
    os.close(inside)
    said = b""
    try:
        while chunk := os.read(terminal, 4096):
            said += chunk
    except OSError:  # Linux' word for: the other side is closed.
        pass
    finally:
        os.close(terminal)
    return process.wait().code, said.decode()


def test_on_a_terminal_the_name_is_to_be_typed(place: Place) -> None:
    """What would go is shown; another word than the tenant's name, `y` too, ends it."""
    first = place.names[0]
    asked = ("reset", "--drop-all", "--tenant", first)
    code, said = typed(place, "y", *asked)
    assert code != 0 and "view family" in said and "Type its name" in said
    assert "parents" in place.objects(first)
    code, said = typed(place, first, *asked)
    assert code == 0 and "1 reset" in said
    assert place.objects(first) == {"mine", "shared"}


def test_nothing_is_dropped_while_the_application_refers_to_it(place: Place) -> None:
    """A table of the application's own with a foreign key to a migration's table stops the drop."""
    first, second = place.names
    place.run(
        first,
        "CREATE TABLE theirs (id INTEGER PRIMARY KEY, parent INTEGER,"
        " FOREIGN KEY (parent) REFERENCES parents (id))",
    )
    ended = place.ended(
        "reset", "--drop-all", "--all-tenants", "--yes-drop", first, "--yes-drop", second
    )
    assert ended.code == 3 and "theirs" in ended.out
    assert {"parents", "children", "family", "theirs"} <= place.objects(first)
    assert "parents" not in place.objects(second)


def test_reset_to_really_undoes(place: Place) -> None:
    """--to runs the down steps of what came after, under the command's own name."""
    first, second = place.names
    assert "2 rolled back" in place.ok("reset", "--to", "001", "--all-tenants", "-y").out
    assert "renamed" not in place.objects(first) | place.objects(second)
    assert place.events(first, "rolled_back")[0]["body"]["migration"]["version"] == "002"
    assert place.events(first, "started")[-1]["body"]["command"] == "reset"


def test_mark_only_changes_the_records_alone(place: Place) -> None:
    """The document's resetToVersion: no table is touched, and the tenant's marker agrees."""
    first = place.names[0]
    before = place.objects(first)
    dry = place.ok(
        "reset", "--to", "001", "--mark-only", "--tenant", first, "--dry-run", "--format", "json"
    ).json()
    assert dry[0]["was"] == ["app/001", "app/002"] and dry[0]["applied"] == ["app/001"]
    assert "1 reset" in place.ok("reset", "--to", "001", "--mark-only", "--tenant", first, "-y").out
    assert place.objects(first) == before
    body = place.events(first, "reset")[0]["body"]
    assert body["mode"] == "mark_only" and [one["version"] for one in body["applied"]] == ["001"]
    rows = place.ok("status", "--format", "json").json()["tenants"]
    assert [row["applied"] for row in rows] == [["001"], ["001", "002"]]
    place.ok("reset", "--to", "002", "--mark-only", "--tenant", first, "-y")
    assert place.ok("migrate", "--all-tenants").out.startswith("Nothing to do")
    ended = place.ended("reset", "--to", "009", "--mark-only", "--tenant", first, "-y")
    assert ended.code == 2 and "009" in ended.err


@pytest.mark.parametrize(
    "point",
    [
        "runner.after_claim",
        "backup.before_rename",
        "store.after_commit:3",
        "drop:1",
        "drop:3",
        "engine.before_marker",
        "dropped",
        "store.after_commit:4",
    ],
)
def test_a_drop_that_was_killed_is_repeated(place: Place, point: str) -> None:
    """Wherever it was killed: migrate does not take the tenant for whole, the same command ends it."""
    first = place.names[0]
    arguments = ("reset", "--drop-all", "--tenant", first, "--yes-drop", first)
    sqlite = place.engine == "sqlite"
    armed = point.replace("drop:", f"engine.{'in_transaction' if sqlite else 'after_statement'}:")
    armed = armed.replace("dropped", f"engine.after_{'commit' if sqlite else 'marker'}")
    if sqlite and point == "engine.before_marker":
        armed = "engine.in_transaction:4"
    ended = place.terminal.start(*arguments, env={"LEDGER_FAILPOINT": armed})
    assert ended.code == -signal.SIGKILL
    if not sqlite and point in ("drop:1", "drop:3", "engine.before_marker"):
        assert "family" not in place.objects(first)
        place.migration("003_third.sql", "CREATE TABLE third (id INTEGER PRIMARY KEY);")
        refused = place.ended("migrate", "--tenant", first)
        assert refused.code == 3 and "reset was interrupted" in refused.out
    place.ok(*arguments)
    assert place.objects(first) == {"mine", "shared"}
    assert place.events(first)[-1]["type"] == "reset"
    place.ok("migrate", "--tenant", first)
    assert "family" in place.objects(first)
    place.ok("verify")


async def test_from_python(place: Place) -> None:
    """The same calls, the same outcomes; two ways at once are refused."""
    first, second = place.names
    plans = await place.open().plan_reset("*", drop_all=True)
    assert [plan.tenant for plan in plans] == [first, second]
    report = await place.open().reset(second, drop_all=True, reason="gone")
    assert report.outcomes[0].result == "reset" and report.outcomes[0].backup is not None
    assert os.path.exists(report.outcomes[0].backup)  # noqa: PTH110 - a plain look
    assert place.objects(second) == {"mine"}
    assert (await place.open().reset(first, to="001")).summary == {"rolled_back": 1}
    assert (await place.open().reset(first, to="0", mark_only=True)).summary == {"reset": 1}
    with pytest.raises(UsageError):
        await place.open().reset(first, to="001", drop_all=True)


KILLED = """\
CREATE TABLE one (id INTEGER PRIMARY KEY);
CREATE TABLE two (id INTEGER PRIMARY KEY);
INSERT INTO one (id) VALUES (1);
CREATE INDEX mine_two ON mine (id);
CREATE VIEW both_of AS SELECT one.id FROM one JOIN two ON one.id = two.id;
"""


def indexes(place: Place, tenant: str) -> set[str]:
    """Names of the indexes on the application's own table."""
    sql = "SELECT name FROM pragma_index_list('mine')"
    if place.engine != "sqlite":
        sql = (
            "SELECT index_name FROM information_schema.statistics"
            " WHERE table_schema = DATABASE() AND table_name = 'mine'"
        )
    return {str(name) for (name,) in place.run(tenant, sql)} - {"PRIMARY"}


def killed_at(place: Place, point: str) -> None:
    """Migrate the first tenant, and die there."""
    ended = place.terminal.start(
        "migrate", "--tenant", place.names[0], env={"LEDGER_FAILPOINT": point}
    )
    assert ended.code == -signal.SIGKILL


POINTS = {
    "sqlite": ("engine.in_transaction", "engine.after_commit", "runner.before_record"),
    "mariadb": (
        "engine.after_intent",
        "engine.after_statement",
        "engine.after_statement:2",
        "engine.in_transaction",
        "engine.after_commit",
        "engine.after_intent:2",
        "engine.after_statement:3",
        "engine.after_intent:3",
        "engine.after_statement:4",
        "engine.before_marker",
        "engine.after_marker:2",
        "runner.before_record",
    ),
}
POINTS["mysql"] = POINTS["mariadb"]


def test_a_reset_drops_what_a_killed_migrate_made_or_names_it(place: Place) -> None:
    """Wherever migrate was killed: reset drops all that its steps had made, or refuses, names the step
    and says what to do first; never does a part of it stay behind unsaid."""
    first = place.names[0]
    place.migration("003_killed.sql", KILLED)
    arguments = ("reset", "--drop-all", "--tenant", first, "--yes-drop", first)
    for point in POINTS[place.engine]:
        place.ok("migrate", "--to", "002", "--tenant", first)
        killed_at(place, point)
        ended = place.ended(*arguments)
        if ended.code != 0:
            assert ended.code == 3, (point, ended)
            assert "app/003" in ended.out and "step 4" in ended.out, (point, ended)
            assert "ledger migrate" in ended.out, (point, ended)
            assert {"one", "two", "parents"} <= place.objects(first)
            place.ok("migrate", "--tenant", first)
            place.ok(*arguments)
        assert place.objects(first) == {"mine", "shared"}, point
        assert indexes(place, first) == set(), point
    place.ok("migrate", "--tenant", first)
    place.ok("verify")


def test_what_a_killed_migrate_found_there_is_not_dropped(place: Place) -> None:
    """A table that IF NOT EXISTS found is the application's, also where only the marker says so."""
    first, second = place.names
    place.run(first, "CREATE TABLE kept (id INTEGER PRIMARY KEY)")
    place.migration("003_kept.sql", "CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY);\n")
    for name, kept in ((first, {"kept", "mine", "shared"}), (second, {"mine"})):
        env = {"LEDGER_FAILPOINT": "runner.before_record"}
        ended = place.terminal.start("migrate", "--tenant", name, env=env)
        assert ended.code == -signal.SIGKILL and "kept" in place.objects(name)
        place.ok("reset", "--drop-all", "--tenant", name, "--yes-drop", name)
        assert place.objects(name) == kept


def test_a_table_that_only_may_be_the_migrations_own_stops_the_drop(make_place: MakePlace) -> None:
    """IF NOT EXISTS is announced nowhere: killed behind it, nobody knows whether the table was there
    before. The tenant is left as it is, and the table is named, with both ways out."""
    place = make_place("mariadb")
    first = place.names[0]
    place.migration(
        "001_maybe.sql",
        "CREATE TABLE IF NOT EXISTS maybe (id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE after_it (id INTEGER PRIMARY KEY);\n",
    )
    killed_at(place, "store.before_commit:4")
    assert place.objects(first) == {"mine", "maybe"}
    assert place.events(first, "step_started") == []
    arguments = ("reset", "--drop-all", "--tenant", first, "--yes-drop", first)
    plan = place.ended("reset", "--drop-all", "--tenant", first, "--dry-run")
    assert "table maybe" in plan.out and "app/001" in plan.out
    ended = place.ended(*arguments)
    assert ended.code == 3 and "table maybe" in ended.out and "ledger migrate" in ended.out
    assert place.objects(first) == {"mine", "maybe"}

    place.run(first, "DROP TABLE maybe")
    place.ok(*arguments)
    assert place.objects(first) == {"mine"}


def test_a_wish_that_only_may_have_made_its_table_stops_the_drop(make_place: MakePlace) -> None:
    """The same in a section sync: what it announced is dropped, what nothing tells of is named."""
    place = make_place("mariadb")
    first = place.names[0]
    arguments = ("reset", "--drop-all", "--tenant", first, "--yes-drop", first)
    place.migration(
        "001_wish.sql", "-- migrate:sync\nCREATE TABLE wished (id INTEGER PRIMARY KEY);\n"
    )
    killed_at(place, "engine.after_statement")
    assert place.objects(first) == {"mine", "wished"}
    place.ok(*arguments)
    assert place.objects(first) == {"mine"}

    place.migration(
        "001_wish.sql",
        "-- migrate:sync\nCREATE TABLE IF NOT EXISTS wished (id INTEGER PRIMARY KEY);\n",
    )
    killed_at(place, "engine.before_marker")
    assert place.objects(first) == {"mine", "wished"}
    ended = place.ended(*arguments)
    assert ended.code == 3 and "table wished" in ended.out and "ledger migrate" in ended.out
    assert place.objects(first) == {"mine", "wished"}


def test_a_half_done_migration_is_dropped_too(make_place: MakePlace) -> None:
    """What landed of a migration that failed in its middle was created by it."""
    place = make_place("mariadb")
    first = place.names[0]
    place.migration("001_half.sql", "CREATE TABLE one (id INT);\nCREATE TABLE mine (id INT);\n")
    assert place.ended("migrate", "--tenant", first).code == 3
    assert place.objects(first) == {"mine", "one"}
    place.ok("reset", "--drop-all", "--tenant", first, "--yes-drop", first)
    assert place.objects(first) == {"mine"}


def test_a_neighbour_prefix_is_never_touched(
    mariadb: Server, make_database: MakeDatabase, make_place: MakePlace
) -> None:
    """`wp_` is reset while `wp_2_` lives in the same database, under the same migrations."""
    place = make_place("mariadb")
    database = make_database(mariadb)
    config = place.folder / "ledger.toml"
    text = config.read_text()
    line = next(one for one in text.splitlines() if one.startswith("databases"))
    url = next(one for one in text.splitlines() if one.startswith("mysql"))
    config.write_text(
        text.replace('prefix = ""', "")
        .replace(line, 'prefixes = ["wp_", "wp_2_"]')
        .replace(url, url.replace(f":{mariadb.url.port}/", f":{mariadb.url.port}/{database}"))
    )
    place.migration(
        "001_notes.sql",
        "CREATE TABLE {prefix}notes (id INT PRIMARY KEY);\nCREATE VIEW {prefix}seen AS SELECT id FROM {prefix}notes;\n",
    )
    query(mariadb, "CREATE TABLE wp_users (id INT PRIMARY KEY)", database=database)
    place.ok("migrate", "--all-tenants")
    names = [one["tenant"] for one in place.ok("tenants", "--format", "json").json()]
    wp = next(name for name in names if name.endswith("wp"))
    place.ok("reset", "--drop-all", "--tenant", wp, "--yes-drop", wp)
    rows = query(mariadb, "SHOW TABLES", database=database)
    assert {row[0] for row in rows} == {
        "wp_users",
        "wp_2_notes",
        "wp_2_seen",
        "wp_ledger_marker",
        "wp_2_ledger_marker",
    }
