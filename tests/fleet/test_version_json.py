"""Every promise of version.json, end to end, on both engines."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

FIRST = "CREATE TABLE {prefix}first (id INTEGER PRIMARY KEY);\nCREATE VIEW seen AS SELECT id FROM {prefix}first;\n"
SECOND = "CREATE TABLE second (id INTEGER PRIMARY KEY);\n"
SLOW = {
    "sqlite": "CREATE TABLE slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < 1000000000) SELECT max(i) AS i FROM n;\n",
    "mariadb": "CREATE TABLE slow AS SELECT SLEEP(60) AS i;\n",
    # MySQL's SLEEP returns when it is killed, and the statement lands after all.
    "mysql": "CREATE TABLE slow AS SELECT count(*) AS i FROM information_schema.columns a,"
    " information_schema.columns b, information_schema.columns c;\n",
}


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants and two migrations; nothing is applied, and there is no version.json yet."""
    place = make_place(request.param)
    place.migration("001_first.sql", FIRST)
    place.migration("002_second.sql", SECOND)
    return place


def say(place: Place, *, first: dict[str, Any] | None = None, **settings: Any) -> None:
    """Write a version.json; `first` is what it says of 001."""
    entries = {"001": first} if first is not None else {}
    document = {**settings, "migrations": entries}
    place.terminal.write("migrations/app/version.json", json.dumps(document))


def failure(place: Place, *arguments: str) -> dict[str, Any]:
    """The first tenant's outcome of a migrate that fails there."""
    ended = place.ended("migrate", "--tenant", place.names[0], "--format", "json", *arguments)
    assert ended.code == 3, ended
    outcome: dict[str, Any] = ended.json()["outcomes"][0]
    return outcome


def test_the_target_version_caps_a_run(place: Place) -> None:
    """Nothing beyond it is pending, or applied, unless --to asks for it."""
    say(place, target_version="1")
    place.ok("migrate", "--all-tenants")
    assert "second" not in place.objects(place.names[0])
    row = place.ok("status", "--format", "json").json()["tenants"][0]
    assert (row["version"], row["target"], row["state"], row["pending"]) == (
        "001",
        "001",
        "current",
        [],
    )
    place.ok("migrate", "--tenant", place.names[0], "--to", "002")
    assert "second" in place.objects(place.names[0])
    say(place)
    assert place.ok("status", "--format", "json").json()["tenants"][1]["target"] == "002"


def test_dependencies_are_enforced(place: Place) -> None:
    """A migration comes after what it depends on, whatever the versions are; a missing one is refused."""
    say(place, first={"dependencies": ["002"]})
    place.ok("migrate", "--all-tenants")
    done = [event["body"]["migration"] for event in place.events(place.names[0], "completed")]
    assert [one["version"] for one in done] == ["002", "001"]
    say(place, first={"dependencies": ["009"]})
    ended = place.ended("migrate", "--all-tenants")
    assert ended.code == 2 and "009" in ended.err


@pytest.mark.parametrize("form", ["sha256", "sha256:", "md5", "md5 bound"])
def test_a_checksum_is_held_to(place: Place, form: str) -> None:
    """SHA-256 or MD5, over the file, or over its text after the placeholders; a wrong one stops the run."""
    text = FIRST.replace("{prefix}", "") if form == "md5 bound" else FIRST
    digest = hashlib.new(form.split()[0].rstrip(":"), text.encode(), usedforsecurity=False)
    said = ("sha256:" if form.endswith(":") else "") + digest.hexdigest()
    say(place, first={"checksum": said[:-1] + ("0" if said[-1] != "0" else "1")})
    ended = place.ended("migrate", "--all-tenants")
    assert ended.code == 2 and "checksum" in ended.err
    assert place.objects(place.names[0]) == {"mine"}
    say(place, first={"checksum": said})
    assert "2 migrated" in place.ok("migrate", "--all-tenants").out


def test_description_and_estimate_are_in_the_plan(place: Place) -> None:
    """For a person and for a program."""
    say(place, first={"description": "The first of all", "estimated_time_seconds": 90})
    told = place.ok("plan").out
    assert "about 1 m 30 s" in told and "The first of all" in told
    planned = place.ok("plan", "--format", "json").json()["tenants"][0]["migrations"]
    assert planned[0]["estimated_seconds"] == 90
    assert planned[0]["description"] == "The first of all"


@pytest.mark.parametrize(
    ("first", "settings", "wanted"),
    [
        ({}, {}, False),
        ({"requires_backup": True}, {}, True),
        ({}, {"backup_before_migration": True}, True),
        ({"requires_backup": False}, {"backup_before_migration": True}, False),
    ],
)
def test_a_backup_is_taken_where_it_asks_for_one(
    place: Place, first: dict[str, Any], settings: dict[str, Any], wanted: bool
) -> None:
    """With backup = "auto": the migration's own word goes before the file's."""
    config = place.folder / "ledger.toml"
    config.write_text('backup = "auto"\n' + config.read_text())
    say(place, first=first, **settings)
    place.ok("migrate", "--all-tenants", "--to", "001")
    assert bool(place.events(place.names[0], "backup_created")) is wanted


def test_what_it_says_is_created_is_there_afterwards(place: Place) -> None:
    """Each table and view is a check of the migration, recorded with the others."""
    say(place, first={"tables_created": ["first"], "views_created": ["seen"]})
    place.ok("migrate", "--all-tenants")
    checks = place.events(place.names[0], "validated")[0]["body"]["checks"]
    assert [(one["name"], one["passed"]) for one in checks] == [
        ("table first was created", True),
        ("view seen was created", True),
    ]


@pytest.mark.parametrize(
    ("key", "seconds"),
    [
        ("migration_timeout_seconds", 0),
        ("migration_timeout_seconds", -1),
        ("migration_timeout_seconds", 1e308),
        ("estimated_time_seconds", -5),
        ("estimated_time_seconds", 1e300),
    ],
)
def test_seconds_that_cannot_be_are_an_error(key: str, seconds: float, place: Place) -> None:
    """A limit of 0 was none, and one below it ended every migration at once."""
    say(place, first={key: seconds})
    ended = place.ended("plan")
    assert ended.code == 2 and key in ended.err and "version.json" in ended.err


@pytest.mark.parametrize(
    "text",
    [
        '{"target_version": 2.10}',
        '{"migrations": [{"version": 2.10}]}',
        '{"001": {"dependencies": ["000", 2.10]}}',
    ],
)
def test_a_version_that_loses_its_zero_is_an_error(text: str, place: Place) -> None:
    """As a number 2.10 is 2.1, another version; as text it is what it says."""
    place.migration("2.1_a.sql", "CREATE TABLE a (id INTEGER);")
    place.migration("2.10_b.sql", "CREATE TABLE b (id INTEGER);")
    place.terminal.write("migrations/app/version.json", text)
    ended = place.ended("plan")
    assert ended.code == 2 and "2.10 is a number" in ended.err and '"2.10"' in ended.err
    place.terminal.write("migrations/app/version.json", '{"target_version": "2.10"}')
    assert "app/2.10" in place.ok("plan").out
    place.terminal.write("migrations/app/version.json", '{"target_version": 2.1}')
    assert "app/2.10" not in place.ok("plan").out
