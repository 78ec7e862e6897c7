"""`getStatus()` and `runMigrations()` of the document, as values and as JSON; a baseline's mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.errors import UsageError
from tests.faults import commands
from tests.place import ENGINES, MakePlace, Place
from tests.programs import wait_for


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants, two migrations; on the second tenant the second migration fails."""
    place = make_place(request.param)
    place.migration("001_first.sql", "CREATE TABLE first (id INTEGER);")
    place.migration("002_second.sql", "CREATE TABLE second (id INTEGER);")
    place.run(place.names[1], "CREATE TABLE second (id INTEGER)")
    return place


def test_a_run_says_success_applied_and_errors(place: Place) -> None:
    """`migrate --format json`: whether all went well, what was applied where, and why not."""
    first, second = place.names
    ended = place.ended("migrate", "--all-tenants", "--format", "json")
    made = ended.json()
    assert ended.code == 3 and made["success"] is False
    assert made["applied"] == {first: ["app/001", "app/002"], second: ["app/001"]}
    assert list(made["errors"]) == [second] and "second" in made["errors"][second]
    assert made["summary"] == {"migrated": 1, "failed": 1}
    place.run(second, "DROP TABLE second")
    made = place.ok("migrate", "--all-tenants", "--format", "json").json()
    assert made["success"] is True and made["errors"] == {}


def test_status_has_all_that_get_status_had(place: Place) -> None:
    """Current and target version, pending, applied, the lock and its time, the last check."""
    first, second = place.names
    new = place.ok("status", "--format", "json").json()["tenants"][0]
    assert (new["version"], new["target"], new["last_validated_at"]) == (None, "002", None)
    place.ended("migrate", "--all-tenants")
    rows = {row["tenant"]: row for row in place.ok("status", "--format", "json").json()["tenants"]}
    assert (rows[first]["version"], rows[first]["target"]) == ("002", "002")
    assert rows[first]["applied"] == ["001", "002"] and rows[first]["lock"] is None
    assert rows[second]["pending"] == ["002"] and rows[second]["state"] == "failed"
    before = rows[first]["last_validated_at"]
    place.ended("validate")
    after = place.ok("status", "--format", "json").json()["tenants"][0]["last_validated_at"]
    assert after > before
    assert place.events(first, "validated")[-1]["at"] == after
    place.ok("verify")


def test_status_shows_a_lock_and_since_when(place: Place) -> None:
    """A claim: who, since when, until when; once its run was killed on this host, nobody holds it."""
    first = place.names[0]
    place.migration(
        "001_first.sql",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
        " SELECT count(*) FROM n;"
        if place.engine == "sqlite"
        else "DO SLEEP(60);",
    )

    def status() -> dict[str, Any]:
        found: dict[str, Any] = place.ok("status", "--format", "json").json()["tenants"][0]
        return found

    place.ok("baseline", "--tenant", place.names[1], "--to", "001", "-y")
    running = commands.start(place.folder, "migrate", "--tenant", first)
    try:
        wait_for(lambda: status()["lock"] is not None, "the claim")
        row = status()
        document = place.ok("export", "--version-json", "--tenant", first).json()
    finally:
        running.end()
    assert row["lock"]["since"] < row["lock"]["until"] and row["lock"]["pid"] > 0
    assert row["state"] == "running" and row["lock"]["migration"] == "app/001"
    assert document["locked"] is True and document["lock_time"] == row["lock"]["since"]
    assert (status()["lock"], status()["state"]) == (None, "pending")
    assert "was interrupted" in status()["error"]


async def test_from_python(place: Place) -> None:
    """`RunReport` and `Status` have the same, as attributes."""
    first, second = place.names
    report = await place.open().migrate()
    assert not report.success and report.applied[first] == ("app/001", "app/002")
    assert list(report.errors) == [second]
    status = (await place.open().status(first)).tenants[0]
    assert (status.version, status.target, status.lock) == ("002", "002", None)
    assert status.last_validated_at is not None


def test_a_baseline_to_an_unknown_version_is_refused_before_the_run(place: Place) -> None:
    """Exit 2, the versions that there are, and no run recorded."""
    ended = place.ended("baseline", "--to", "009", "--all-tenants", "-y")
    assert ended.code == 2 and "009" in ended.err and "002" in ended.err
    assert place.ok("runs", "--format", "json").json() == []


async def test_the_same_from_python(place: Place) -> None:
    """Raised before anything is recorded."""
    with pytest.raises(UsageError, match="009"):
        await place.open().baseline("*", to="009")
    assert await place.open().runs() == []


def test_a_tenant_that_no_source_names_any_more_is_told(place: Place) -> None:
    """One note on stderr, a key in JSON; none where some were asked for, or nothing was applied to it."""
    first, second = place.names
    place.run(second, "DROP TABLE second")
    place.ok("migrate", "--all-tenants")
    assert "no source names" not in place.ok("status").err
    assert place.ok("status", "--format", "json").json().get("gone") is None
    config = place.folder / "ledger.toml"
    named = config.read_text()
    left = f'sqlite = "data/{first}.db"' if place.engine == "sqlite" else f"databases = ['{first}']"
    found = 'sqlite = "data/*.db"' if place.engine == "sqlite" else f"databases = {place.names!r}"
    config.write_text(named.replace(found, left))
    for command in (("status",), ("migrate", "--all-tenants")):
        ended = place.ok(*command)
        assert "note: 1 more tenant has applied migrations in this ledger" in ended.err
        assert f": {second}. " in ended.err and f"`ledger history {second}`" in ended.err
        assert second not in ended.out
        assert not place.ok(*command, "-q").err
    assert place.ok("status", "--format", "json").json()["gone"] == [second]
    assert not place.ok("status", "--tenant", first).err
    assert place.ok("status", "--tenant", first, "--format", "json").json().get("gone") is None
    assert place.ok("status", "--check").code == 0
    config.write_text(named)
    place.ok("rollback", "--tenant", second, "--to", "0", "--by", "backup", "-y")
    config.write_text(named.replace(found, left))
    assert place.ok("status", "--format", "json").json().get("gone") is None


def test_nothing_counts_as_gone_while_a_source_does_not_answer(place: Place) -> None:
    """It may be the one that knows the tenant."""
    place.run(place.names[1], "DROP TABLE second")
    place.ok("migrate", "--all-tenants")
    config = place.folder / "ledger.toml"
    config.write_text(
        'migrations = "migrations/app"\n[[tenants]]\nquery = "SELECT 1, 2"\n'
        'url = "sqlite:///nowhere/control.db"\n'
    )
    ended = place.ended("status")
    assert "unreachable" in ended.out and "no source names" not in ended.err
    assert place.ended("status", "--format", "json").json().get("gone") is None
