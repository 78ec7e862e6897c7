"""What a tenant should be follows from its migrations, whatever it is: drift stays until it is gone or accepted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

NOTES = """\
CREATE TABLE notes (id INTEGER PRIMARY KEY, text VARCHAR(50));
CREATE INDEX notes_text ON notes (text);
-- migrate:down
DROP TABLE notes;
"""
TAGS = """\
ALTER TABLE notes ADD COLUMN tags VARCHAR(50);
-- migrate:down
ALTER TABLE notes DROP COLUMN tags;
"""
MISSING = [("index", "notes.notes_text", "missing")]


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants with a table of their own from before, and the migration that makes `notes`."""
    made = make_place(request.param)
    made.migration("001_notes.sql", NOTES)
    return made


def drop_index(place: Place, tenant: str) -> None:
    on = "" if place.engine == "sqlite" else " ON notes"
    place.run(tenant, f"DROP INDEX notes_text{on}")


def mend_index(place: Place, tenant: str) -> None:
    place.run(tenant, "CREATE INDEX notes_text ON notes (text)")


def found(place: Place, tenant: str) -> list[tuple[str, str, str]]:
    """What `validate` says of a tenant, and that its exit code says the same."""
    ended = place.ended("validate", "--tenant", tenant, "--format", "json")
    (finding,) = ended.json()["findings"]
    assert finding.get("error") is None, finding
    changes = [(one["kind"], one["name"], one["how"]) for one in finding.get("changes", ())]
    assert ended.code == (4 if changes else 0)
    assert state(place, tenant) == ("drifted" if changes else "current")
    return changes


def state(place: Place, tenant: str) -> str:
    """The tenant's state, where nothing is pending."""
    (row,) = place.ok("status", "--tenant", tenant, "--format", "json").json()["tenants"]
    return str(row["state"])


def bodies(place: Place, tenant: str, kind: str) -> list[dict[str, Any]]:
    return [event["body"] for event in place.events(tenant, kind)]


@pytest.mark.parametrize("validated", [True, False], ids=["known", "not looked for"])
def test_the_next_migration_does_not_erase_drift(place: Place, validated: bool) -> None:
    """A tenant stays drifted until it is as it should be; `migrate` names it before it acts."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    if validated:
        assert found(place, first) == MISSING
        assert "1 tenant" in place.ok("plan").out and "drifted" in place.ok("plan").out
    place.migration("002_tags.sql", TAGS)
    report = place.ok("migrate", "--all-tenants", "--format", "json").json()
    said = [
        *report["warnings"],
        *(text for one in report["outcomes"] for text in one.get("warnings", ())),
    ]
    assert any("notes.notes_text" in text or first in text for text in said)
    types = [event["type"] for event in place.events(first)]
    assert types.index("drift_detected") < len(types) - 1 - types[::-1].index("step_applied")
    assert state(place, first) == "drifted"
    assert found(place, first) == MISSING
    assert found(place, second) == []
    mend_index(place, first)
    assert found(place, first) == []
    place.migration("003_more.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == found(place, second) == []


def test_an_object_made_by_hand_stays_drift(place: Place) -> None:
    """What no migration defines is added until it is dropped; the table from before the first is not."""
    first, _ = place.names
    place.ok("migrate", "--all-tenants")
    place.run(first, "CREATE TABLE stray (id INTEGER PRIMARY KEY)")
    place.run(first, "ALTER TABLE notes ADD COLUMN extra INTEGER")
    place.migration("002_tags.sql", TAGS)
    place.ok("migrate", "--all-tenants")
    both = [("table", "stray", "added"), ("column", "notes.extra", "added")]
    assert found(place, first) == both
    place.run(first, "DROP TABLE stray")
    assert found(place, first) == both[1:]
    place.run(first, "ALTER TABLE notes DROP COLUMN extra")
    assert found(place, first) == []


def test_what_a_later_migration_defines_is_no_drift(place: Place) -> None:
    """A column that was added by hand and that the next migration would add is as it should be."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    place.run(first, "ALTER TABLE notes ADD COLUMN tags VARCHAR(50)")
    assert found(place, first) == [("column", "notes.tags", "added")]
    place.migration("002_tags.sql", f"-- skip-if: column notes.tags\n{TAGS}")
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == found(place, second) == []


def test_what_a_guard_takes_for_its_own_is_no_drift(place: Place) -> None:
    """The migration says that nothing is to do where the column is there: then it is as it should be."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    place.run(first, "ALTER TABLE notes ADD COLUMN tags VARCHAR(99) DEFAULT 'none'")
    place.run(first, "CREATE VIEW seen AS SELECT id FROM notes")
    drop_index(place, first)
    place.migration(
        "002_tags.sql",
        f"-- skip-if: column notes.tags\n{TAGS.splitlines()[0]}\n"
        "-- skip-if: view seen\nCREATE VIEW seen AS SELECT text FROM notes;\n",
    )
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == MISSING
    assert found(place, second) == []
    place.run(first, "DROP VIEW seen")
    assert found(place, first) == [*MISSING, ("view", "seen", "missing")]


def test_drift_follows_a_table_that_is_renamed(place: Place) -> None:
    """What the migrations make of an empty database says where the index belongs."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    place.migration("002_rename.sql", "ALTER TABLE notes RENAME TO remarks;\n")
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == [("index", "remarks.notes_text", "missing")]
    assert found(place, second) == []
    place.run(first, "CREATE INDEX notes_text ON remarks (text)")
    assert found(place, first) == []


def test_a_difference_is_accepted_by_a_person(place: Place) -> None:
    """With a reason, as an event with its actor; from then on it is the measure."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    refused = place.ended("validate", "--accept")
    assert refused.code == 2 and "--reason" in refused.err
    assert place.ended("validate", "--accept", "--reason", "x", "--schema", "s.sql").code == 2
    ended = place.ok("validate", "--accept", "--reason", "too slow to write")
    assert "accepted" in ended.out and "notes.notes_text" in ended.out
    (event,) = place.events(first, "drift_accepted")
    assert event["body"]["reason"] == "too slow to write" and event["actor"]
    assert [one["name"] for one in event["body"]["changes"]] == ["notes.notes_text"]
    assert place.events(second, "drift_accepted") == []
    assert found(place, first) == []
    place.migration("002_tags.sql", TAGS)
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == found(place, second) == []
    mend_index(place, first)
    assert found(place, first) == [], "what the migrations define is right in any case"


def test_what_was_accepted_stays_so_after_a_rollback_and_a_restore(place: Place) -> None:
    """The measure of an earlier applied set is that of then with what a person has accepted since."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    place.migration("002_tags.sql", TAGS)
    place.ok("migrate", "--all-tenants")
    place.run(first, "CREATE TABLE kept_by_hand (id INTEGER PRIMARY KEY)")
    drop_index(place, first)
    place.ok("validate", "--accept", "--reason", "so it is")
    place.ok("rollback", "--all-tenants", "-y")
    assert bodies(place, first, "drift_detected") == []
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == found(place, second) == []
    place.run(first, "DROP TABLE kept_by_hand")
    assert found(place, first) == [("table", "kept_by_hand", "missing")]
    backup = place.ok("backups", "list", "--tenant", first, "--format", "json").json()[0]
    place.ok("restore", "--tenant", first, "--backup", str(backup["seq"]), "-y")
    place.ok("migrate", "--all-tenants")
    assert [one for one in found(place, first) if one[0] == "index"] == []


def test_a_rollback_leads_back_to_what_the_tenant_should_have_been(place: Place) -> None:
    """Drift survives it, what down steps leave behind is drift, and "nothing applied" has a schema too."""
    first, second = place.names
    place.migration("002_tags.sql", TAGS)
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    place.ok("rollback", "--all-tenants", "-y")
    changes = bodies(place, first, "drift_detected")[-1]["changes"]
    assert [(one["kind"], one["name"], one["how"]) for one in changes] == MISSING
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == MISSING
    mend_index(place, first)
    place.ok("rollback", "--all-tenants", "--to", "0", "-y")
    place.run(first, "CREATE TABLE stray (id INTEGER PRIMARY KEY)")
    ended = place.ended("validate", "--format", "json")
    by_name = {one["tenant"]: one for one in ended.json()["findings"]}
    changes = by_name[first]["changes"]
    assert [(one["kind"], one["name"], one["how"]) for one in changes] == [
        ("table", "stray", "added")
    ]
    assert by_name[second]["valid"]


def test_what_down_steps_leave_behind_is_drift(place: Place) -> None:
    """The applied set is that of before, and the schema is not."""
    first, _ = place.names
    place.ok("migrate", "--all-tenants")
    place.migration(
        "002_more.sql",
        "CREATE TABLE more (id INTEGER PRIMARY KEY);\nCREATE TABLE left_behind (id INTEGER PRIMARY KEY);\n"
        "-- migrate:down\nDROP TABLE more;\n",
    )
    place.ok("migrate", "--all-tenants")
    ended = place.ok("rollback", "--all-tenants", "-y", "--format", "json").json()
    assert any("left_behind" in text for text in ended["outcomes"][0]["warnings"])
    drift = bodies(place, first, "drift_detected")[-1]
    assert [(one["name"], one["how"]) for one in drift["changes"]] == [("left_behind", "added")]


def test_a_restored_backup_brings_no_new_measure(place: Place) -> None:
    """Drift that the backup holds is drift after the restore, too."""
    first, second = place.names
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    place.migration("002_tags.sql", TAGS)
    place.ok("migrate", "--all-tenants")
    place.ok("restore", "--all-tenants", "-y")
    place.ok("migrate", "--all-tenants")
    assert found(place, first) == MISSING
    assert found(place, second) == []


def test_maintenance_does_not_erase_drift(place: Place) -> None:
    """It looks at the tenant, and what it sees is not what the tenant should be."""
    first, _ = place.names
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    place.ok("maintain", "--task", "optimize", "--all-tenants", "-y")
    assert found(place, first) == MISSING


def test_what_was_made_by_what_counts_no_more_is_no_drift(place: Place) -> None:
    """`reset --mark-only` forgets a migration: what it made and lost is not missed, the rest is."""
    first, second = place.names
    place.migration(
        "002_more.sql",
        "CREATE TABLE IF NOT EXISTS more (id INTEGER PRIMARY KEY);\n"
        f"{'CREATE VIEW IF NOT EXISTS' if place.engine == 'sqlite' else 'CREATE OR REPLACE VIEW'}"
        " seen AS SELECT id FROM notes;\n",
    )
    place.ok("migrate", "--all-tenants")
    drop_index(place, first)
    place.run(first, "DROP VIEW seen")
    place.run(second, "DROP VIEW seen")
    assert found(place, first) == [*MISSING, ("view", "seen", "missing")]
    assert found(place, second) == [("view", "seen", "missing")]
    place.ok("reset", "--to", "001", "--mark-only", "--all-tenants", "-y", "--reason", "again")
    changes = bodies(place, first, "drift_detected")[-1]["changes"]
    assert [(one["kind"], one["name"], one["how"]) for one in changes] == MISSING
    report = place.ok("migrate", "--all-tenants", "--format", "json").json()
    assert len(report["warnings"]) == 1 and second not in report["warnings"][0]
    warned = {one["tenant"]: " ".join(one.get("warnings", ())) for one in report["outcomes"]}
    assert "notes_text" in warned[first] and "seen" not in warned[first] and not warned[second]
    assert found(place, first) == MISSING
    assert found(place, second) == []
    place.run(second, "DROP VIEW seen")
    assert found(place, second) == [("view", "seen", "missing")]


def test_a_baselined_fleet_agrees_on_what_it_should_be(make_place: MakePlace) -> None:
    """Nothing ran: most tenants with the same applied set tell what the others should be."""
    place = make_place("sqlite")
    place.run("gamma", "CREATE TABLE mine (id INTEGER PRIMARY KEY)")
    for name in ("acme", "beta", "gamma"):
        # Not as the file has it, as in a fleet with a past.
        place.run(name, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text VARCHAR(70))")
        mend_index(place, name)
    drop_index(place, "beta")
    place.migration("001_notes.sql", NOTES)
    place.ok("baseline", "--to", "001", "--all-tenants", "-y")
    assert found(place, "acme") == found(place, "gamma") == []
    assert found(place, "beta") == MISSING
    place.migration("002_tags.sql", TAGS)
    assert "notes.notes_text" in place.ok("migrate", "--all-tenants").err
    assert found(place, "beta") == MISSING
    mend_index(place, "beta")
    assert found(place, "beta") == found(place, "acme") == []


def test_a_list_after_a_baseline_names_what_differs(place: Place) -> None:
    """The schema is kept when it is counted as applied: not every object is new."""
    first, _ = place.names
    for name in place.names:
        place.run(name, *NOTES.split("-- migrate:down")[0].rstrip(";\n").split(";\n"))
    place.ok("baseline", "--to", "001", "--all-tenants", "-y")
    drop_index(place, first)
    assert found(place, first) == MISSING


def test_objects_of_other_tools_are_no_drift(place: Place) -> None:
    """Declared by pattern for a source; everything else of theirs counts."""
    first, _ = place.names
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text() + 'ignore = ["_litestream_*", "SCHEMA_MIGRATIONS"]\n')
    place.ok("migrate", "--all-tenants")
    place.run(first, "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY)")
    place.run(first, "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY)")
    assert found(place, first) == []
    place.run(first, "CREATE TABLE litestream (id INTEGER PRIMARY KEY)")
    assert found(place, first) == [("table", "litestream", "added")]


def test_a_tenant_put_back_is_compared_with_what_it_was_then(
    tmp_path: Path, make_place: MakePlace
) -> None:
    """An old copy is regressed; its schema is that of then, and no drift from today's."""
    place = make_place("sqlite")
    place.migration("001_notes.sql", NOTES)
    place.ok("migrate", "--all-tenants")
    file = tmp_path / "data" / "acme.db"
    shutil.copy(file, tmp_path / "old.db")
    place.migration("002_tags.sql", TAGS)
    place.ok("migrate", "--all-tenants")
    shutil.copy(tmp_path / "old.db", file)
    drop_index(place, "acme")
    assert place.ended("validate").code == 4
    ended = place.ended("validate", "--format", "json").json()
    changes = ended["findings"][0]["changes"]
    assert [(one["kind"], one["name"], one["how"]) for one in changes] == MISSING
    place.ok("migrate", "--all-tenants")
    assert found(place, "acme") == MISSING
