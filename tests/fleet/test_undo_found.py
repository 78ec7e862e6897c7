"""Rolling back a migration that found what it was to make: the application's tables and rows stay."""

from __future__ import annotations

from typing import Any

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

GUARDED = """\
CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY, word VARCHAR(20));
CREATE TABLE own (id INTEGER PRIMARY KEY);
-- migrate:down
DROP TABLE own;
DROP TABLE shared;
"""
SKIPPED = GUARDED.replace(
    "CREATE TABLE IF NOT EXISTS shared", "-- skip-if: table shared\nCREATE TABLE shared"
)
ASKED = GUARDED.replace(
    "CREATE TABLE IF NOT EXISTS shared",
    "-- skip-if: sql: SELECT count(*) > 0 FROM mine\nCREATE TABLE shared",
)
BOTH = pytest.mark.parametrize("text", [GUARDED, SKIPPED], ids=["if not exists", "skip-if"])
ALL = "--all-tenants"


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants; the first has a table `shared` of the application's, with rows."""
    place = make_place(request.param)
    place.run(
        place.names[0],
        "CREATE TABLE shared (id INTEGER PRIMARY KEY, word VARCHAR(20))",
        "INSERT INTO shared VALUES (1, 'ours')",
        "INSERT INTO mine VALUES (7)",
    )
    return place


def rows(place: Place) -> list[tuple[object, ...]]:
    """The application's."""
    return place.run(place.names[0], "SELECT * FROM shared")


@pytest.mark.parametrize(
    "text", [GUARDED, SKIPPED, ASKED], ids=["if not exists", "skip-if", "skip-if sql"]
)
@pytest.mark.parametrize(
    "back",
    [("rollback", ALL), ("rollback", "--to", "0", ALL), ("reset", "--to", "0", ALL)],
    ids=["rollback", "rollback --to", "reset --to"],
)
def test_what_was_there_before_stays(place: Place, text: str, back: tuple[str, ...]) -> None:
    """Its down step is left out, which the events say; what the migration made is dropped."""
    first, second = place.names
    place.migration("001_shared.sql", text)
    place.ok("migrate", ALL)
    place.ok(*back, "-y")
    assert rows(place) == [(1, "ours")]
    assert place.objects(first) == {"mine", "shared"}
    assert place.objects(second) == {"mine"}
    (skipped,) = (one for one in place.events(first, "step_skipped") if _down(one))
    assert (skipped["body"]["step"], skipped["body"]["up_step"]) == (2, 1)
    assert not [one for one in place.events(second, "step_skipped") if _down(one)]
    place.ok("validate")
    place.ok("migrate", ALL)
    assert rows(place) == [(1, "ours")]


def _down(event: dict[str, Any]) -> bool:
    return bool(event["body"]["direction"] == "down")


@BOTH
def test_the_plan_shows_what_is_left_out(place: Place, text: str) -> None:
    """In JSON by the number of the up step, and in words."""
    first, second = place.names
    place.migration("001_shared.sql", text)
    place.ok("migrate", ALL)
    planned = place.ok("rollback", ALL, "--dry-run", "--format", "json").json()["tenants"]
    found = {
        one["tenant"]: [step["up_step"] for step in one["migrations"][0]["steps"]]
        for one in planned
    }
    assert found == {first: [None, 1], second: [None, None]}
    assert "up step 1" in place.ok("rollback", "--tenant", first, "--dry-run").out
    assert "up step 1" not in place.ok("rollback", "--tenant", second, "--dry-run").out


def test_a_half_that_found_a_table_is_undone_without_it(place: Place) -> None:
    """The migration failed in its third step; what its first found there is not dropped."""
    first = place.names[0]
    place.migration(
        "001_shared.sql",
        "-- migrate:up transaction:false\n"
        + GUARDED.replace("-- migrate:down", "CREATE TABLE mine (id INTEGER);\n-- migrate:down"),
    )
    assert place.ended("migrate", "--tenant", first).code == 3
    place.ok("rollback", "--tenant", first, "-y")
    assert rows(place) == [(1, "ours")]
    assert place.objects(first) == {"mine", "shared"}


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("INSERT INTO shared VALUES (2, 'seed');", "DROP TABLE shared;"),
        ("CREATE TABLE own (id INTEGER);", "DROP TABLE own;\nDROP TABLE shared;\nANYTHING;"),
    ],
    ids=["what was put in goes with the table", "may do anything"],
)
@BOTH
def test_where_it_cannot_be_decided_nothing_is_touched(
    place: Place, text: str, up: str, down: str
) -> None:
    """Refused by name, with file and line; the backup from before the migration undoes it."""
    first = place.names[0]
    anything = "VACUUM" if place.engine == "sqlite" else "CALL nothing()"
    create = text.partition("CREATE TABLE own")[0]
    place.migration(
        "001_shared.sql",
        f"{create}{up}\n-- migrate:down transaction:false\n"
        + down.replace("ANYTHING", anything)
        + "\n",
    )
    place.ok("migrate", ALL)
    before = (place.objects(first), rows(place))
    for more in (("--dry-run",), ("-y",), ("-y", "--by", "script")):
        ended = place.ended("rollback", "--tenant", first, *more)
        assert ended.code == (4 if more == ("--dry-run",) else 3), ended
        said = ended.out + ended.err
        assert first in said
        assert "app/001" in said
        assert "001_shared.sql:" in said
        assert "--by backup" in said
    assert (place.objects(first), rows(place)) == before
    place.ok("rollback", "--tenant", first, "-y", "--by", "backup")
    assert rows(place) == [(1, "ours")]


def test_what_the_migration_itself_made_before_is_its_own(place: Place) -> None:
    """A second CREATE … IF NOT EXISTS finds the table of the first one, and both are undone."""
    place.migration(
        "001_twice.sql",
        "CREATE TABLE own (id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE IF NOT EXISTS own (id INTEGER PRIMARY KEY);\n"
        "-- migrate:down\nDROP TABLE own;\n",
    )
    place.ok("migrate", ALL)
    place.ok("rollback", ALL, "-y")
    assert place.objects(place.names[1]) == {"mine"}


@pytest.mark.parametrize("place", WITH_MYSQL[1:], indirect=True)
def test_a_view_that_was_replaced_is_replaced_back(place: Place) -> None:
    """OR REPLACE, which SQLite has not, did its work although the view was there: its down step runs."""
    make = "CREATE VIEW seen AS SELECT id FROM mine"
    place.migration("001_view.sql", f"{make};\n-- migrate:down\nDROP VIEW seen;\n")
    place.migration(
        "002_view.sql",
        "CREATE OR REPLACE VIEW seen AS SELECT id, id + 1 AS next FROM mine;\n"
        "-- migrate:down\nCREATE OR REPLACE VIEW seen AS SELECT id FROM mine;\n",
    )
    place.ok("migrate", ALL)
    place.ok("rollback", ALL, "-y")
    assert place.run(place.names[0], "SELECT * FROM seen") == [(7,)]


DESIRED = """\
-- migrate:sync
CREATE TABLE shared (id INTEGER PRIMARY KEY, word VARCHAR(20));
CREATE TABLE own (id INTEGER PRIMARY KEY);
CREATE INDEX by_id ON own (id);
-- migrate:down
DROP TABLE own;
DROP TABLE shared;
"""


def test_a_table_that_a_section_sync_found_stays(place: Place) -> None:
    """It was as desired, so that nothing was made; what was missing is dropped."""
    first, second = place.names
    place.migration("001_shared.sql", DESIRED)
    place.ok("migrate", ALL)
    place.ok("rollback", ALL, "-y")
    assert rows(place) == [(1, "ours")]
    assert place.objects(first) == {"mine", "shared"}
    assert place.objects(second) == {"mine"}


def test_a_table_that_a_section_sync_found_and_changed_is_not_decided(place: Place) -> None:
    """The column would stay with the table: only the backup undoes both."""
    first, second = place.names
    place.migration("001_shared.sql", DESIRED.replace("(20)", "(20), more INTEGER"))
    place.ok("migrate", ALL)
    ended = place.ended("rollback", "--tenant", first, "-y")
    assert ended.code == 3
    assert "001_shared.sql:7" in ended.out + ended.err
    place.ok("rollback", "--tenant", second, "-y")
    place.ok("rollback", "--tenant", first, "-y", "--by", "backup")
    assert rows(place) == [(1, "ours")]
