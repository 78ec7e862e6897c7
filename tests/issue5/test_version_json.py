"""Every promise of version.json, end to end, on both engines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.issue5.place import WITH_MYSQL, Place, make_place

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
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Place:
    """Two tenants and two migrations; nothing is applied, and there is no version.json yet."""
    place = make_place(request.param, request, tmp_path, monkeypatch, capsys)
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
    "said", [{"tables_created": ["first", "missing"]}, {"views_created": ["first"]}]
)
def test_a_missing_object_fails_the_migration(place: Place, said: dict[str, Any]) -> None:
    """`check_failed`, with the object's name; the tenant does not count it as applied, and goes on
    once version.json is put right."""
    say(place, first=said)
    outcome = failure(place)
    assert outcome["error"] == "check_failed"
    assert next(iter(said.values()))[-1] in outcome["message"]
    row = place.ok("status", "--format", "json").json()["tenants"][0]
    assert row["state"] == "failed" and row["applied"] == []
    if place.engine == "sqlite":
        assert place.objects(place.names[0]) == {"mine"}
    say(place, first={"tables_created": ["first"]})
    place.ok("migrate", "--all-tenants")
    assert place.objects(place.names[0]) == {"mine", "first", "seen", "second"}


def test_the_timeout_ends_a_step(place: Place) -> None:
    """migration_timeout_seconds: the statement is stopped, and nothing after it runs."""
    place.migration("001_first.sql", SLOW[place.engine])
    say(place, migration_timeout_seconds=0.5)
    outcome = failure(place, "--to", "001")
    assert "timed out after 0.5 s" in outcome["message"]
    assert "slow" not in place.objects(place.names[0])
    say(place, first={"migration_timeout_seconds": 0.4}, migration_timeout_seconds=100)
    assert "timed out after 0.4 s" in failure(place, "--to", "001")["message"]


def test_a_hostile_name_is_only_a_name(place: Place) -> None:
    """What stands in tables_created is compared, never run."""
    say(place, first={"tables_created": ["x' OR '1'='1", "a\\' OR 1=1 -- "]})
    outcome = failure(place, "--to", "001")
    assert outcome["error"] == "check_failed" and outcome["message"].count("failed") == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"migrations": {"001": {"description": "a"}, "002": {}, "001": {"description": "b"}}}',
        '{"migrations": {"001": {"checksum": "sha256:0", "checksum": null}}}',
        '{"target_version": "001", "target_version": "002"}',
        '{"target_version": "001", "settings": {"target_version": "002"}}',
        '{"notes": {"x": [{"y": 1, "y": 2}]}}',
    ],
)
def test_a_key_that_is_there_twice_is_an_error(text: str, place: Place) -> None:
    """File and key are named, and nothing runs: nobody knows which of the two was meant."""
    place.terminal.write("migrations/app/version.json", text)
    ended = place.ended("migrate", "--all-tenants")
    assert ended.code == 2
    assert "version.json: the key '" in ended.err and "' is there twice" in ended.err
    assert "first" not in place.objects(place.names[0])
    found = place.ended("lint", "--format", "json").json()
    assert [one["rule"] for one in found] == ["unusable"]


def test_an_empty_file_is_told_with_its_likely_cause(place: Place) -> None:
    """`ledger export --version-json > …/version.json`: the shell was there first."""
    place.terminal.write("migrations/app/version.json", "")
    ended = place.ended("plan")
    assert ended.code == 2 and "version.json: the file is empty" in ended.err and ">" in ended.err
