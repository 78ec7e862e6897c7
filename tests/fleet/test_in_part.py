"""A migration that has landed in part: every command knows of it, with its file and without."""

from __future__ import annotations

from typing import Any

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

FIRST = """\
CREATE TABLE notes (id INTEGER PRIMARY KEY, words VARCHAR(40));
INSERT INTO notes VALUES (1, 'one');
-- migrate:down
DROP TABLE notes;
"""
HALF = """\
-- migrate:up transaction:false
ALTER TABLE notes ADD COLUMN tags VARCHAR(20);
CREATE TABLE mine (id INTEGER);
-- migrate:down transaction:false
DROP TABLE mine;
ALTER TABLE notes DROP COLUMN tags;
"""
"""Its second step fails: `mine` is there, and is the application's."""
THIRD = "CREATE TABLE more (id INTEGER);\n-- migrate:down\nDROP TABLE more;\n"
ALL = "--all-tenants"


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants at 001; on the second one 002 has landed in part, the first one has it not."""
    place = make_place(request.param)
    place.migration("001_first.sql", FIRST)
    place.ok("migrate", ALL)
    place.migration("002_half.sql", HALF)
    assert place.ended("migrate", "--tenant", place.names[1]).code == 3
    return place


def row(place: Place, name: str) -> dict[str, Any]:
    """The tenant's row of `status`."""
    rows = place.ended("status", "--format", "json").json()["tenants"]
    found: dict[str, Any] = next(one for one in rows if one["tenant"] == name)
    return found


def columns(place: Place, name: str) -> list[str]:
    """The columns of `notes`."""
    if place.engine == "sqlite":
        return [str(one[1]) for one in place.run(name, "PRAGMA table_info(notes)")]
    return [str(one[0]) for one in place.run(name, "SHOW COLUMNS FROM notes")]


def without_file(place: Place, *, more: bool) -> None:
    """The file is deleted; a further migration may be there."""
    (place.folder / "migrations" / "app" / "002_half.sql").unlink()
    if more:
        place.migration("003_more.sql", THIRD)


@pytest.mark.parametrize("more", [False, True], ids=["nothing else", "one more"])
def test_without_its_file_the_tenant_stays_failed_until_it_is_undone(
    place: Place, more: bool
) -> None:
    """`plan`, `migrate`, `validate` and `status` name it; its kept down steps undo what has landed only."""
    whole, half = place.names
    without_file(place, more=more)
    planned = place.ended("plan", ALL, "--format", "json").json()["tenants"]
    assert "app/002" in planned[1]["problem"]
    assert planned[1]["in_part"] == ["app/002"]
    for _ in range(2):
        ended = place.ended("migrate", ALL)
        assert ended.code == 3, ended
        assert f"{half}: failed: app/002: it has landed in part (step 1 of 2)" in ended.out
        assert "ledger rollback app/002" in ended.out
        assert (row(place, whole)["state"], row(place, half)["state"]) == ("current", "failed")
        assert place.ended("validate").code == 4
    assert "tags" in columns(place, half)
    assert ("more" in place.objects(whole), "more" in place.objects(half)) == (more, False)
    shown = place.ok("rollback", "app/002", ALL, "--dry-run", "--format", "json").json()
    steps = {
        one["tenant"]: [len(m["steps"]) for m in one["migrations"]] for one in shown["tenants"]
    }
    assert steps == {whole: [], half: [1]}
    place.ok("rollback", "app/002", "--tenant", half, "-y")
    assert "tags" not in columns(place, half)
    assert "mine" in place.objects(half)
    assert place.run(half, "SELECT words FROM notes") == [("one",)]
    place.ok("migrate", ALL)
    place.ok("validate")
    assert row(place, half)["state"] == "current"
    place.ok("verify")


def test_renamed_to_another_version_it_is_named_with_the_new_file(place: Place) -> None:
    """The same text under another version would run its landed step again."""
    folder = place.folder / "migrations" / "app"
    (folder / "002_half.sql").rename(folder / "003_half.sql")
    ended = place.ended("migrate", "--tenant", place.names[1])
    assert ended.code == 3
    assert "003_half.sql has its text" in ended.out
    (folder / "003_half.sql").rename(folder / "002_half.sql")
    place.migration("002_half.sql", HALF.replace("TABLE mine", "TABLE theirs"))
    place.ok("migrate", ALL)
    place.ok("validate")
    assert "theirs" in place.objects(place.names[1])


def test_with_its_file_every_command_counts_it(place: Place) -> None:
    """The plan marks what has landed, `--to` below it is refused, the bare rollback takes it back."""
    whole, half = place.names
    (planned,) = place.ok("plan", "--tenant", half, "--format", "json").json()["tenants"]
    assert [step["landed"] for step in planned["migrations"][0]["steps"]] == [True, False]
    shown = place.ok("plan", "--tenant", half).out
    assert "at 001 and a part of app/002" in shown
    assert "(has landed)" in shown
    ended = place.ended("migrate", ALL, "--to", "001")
    assert ended.code == 3
    assert "this run would not bring it to its end" in ended.out
    assert row(place, half)["state"] == "failed"
    ended = place.ended("validate", "--tenant", half)
    assert ended.code == 4
    assert "app/002 has landed in part (up to step 1)" in ended.out
    document = place.ok("export", "--version-json", "--tenant", half).json()
    assert document["migrations"]["002"]["applied"] is False
    assert document["migrations"]["002"]["steps_landed"] == [1]
    place.ok("rollback", "--tenant", half, "-y")
    assert "tags" not in columns(place, half)
    assert row(place, half)["applied"] == ["001"]
    assert columns(place, whole) == ["id", "words"]


def test_put_back_past_the_ledger_it_is_over(place: Place) -> None:
    """The tenant's own word counts: a restore by other means has taken the marker's entry along."""
    half = place.names[1]
    without_file(place, more=False)
    place.ok("restore", "--tenant", half, "-y")
    assert row(place, half)["state"] == "current"
    place.ok("validate")
    place.ok("migrate", ALL)


def test_undone_from_its_backup_where_the_steps_cannot_tell(place: Place) -> None:
    """Without down steps, or with some that may undo other things, only the backup from before it is exact."""
    half = place.names[1]
    anything = (
        "UPDATE notes SET words = 'changed';\n-- step: Fails\nINSERT INTO nothing VALUES (1);\n"
    )
    place.ok("rollback", "--tenant", half, "-y")
    place.migration("002_half.sql", f"-- migrate:up transaction:false\n{anything}")
    assert place.ended("migrate", "--tenant", half).code == 3
    without_file(place, more=False)
    (planned,) = place.ok("rollback", "--tenant", half, "--dry-run", "--format", "json").json()[
        "tenants"
    ]
    assert planned["migrations"][0]["how"].startswith("backup ")
    assert place.ended("rollback", "--tenant", half, "-y", "--by", "script").code == 3
    place.ok("rollback", "--tenant", half, "-y")
    assert place.run(half, "SELECT words FROM notes") == [("one",)]
    place.ok("migrate", ALL)
    assert row(place, half)["state"] == "current"


def test_figures_history_and_rehearsal_know_it(place: Place) -> None:
    """`stats` names it, the failure says what stays, `rehearse` goes on from a copy of the tenant itself."""
    half = place.names[1]
    sizes = place.ok("stats", "--format", "json").json()["sizes"]
    assert {one["tenant"]: one["in_part"] for one in sizes}[half] == ["app/002"]
    failed = place.events(half, "failed")[-1]["body"]
    assert failed["landed"] == [1]
    assert "(steps landed: 1)" in place.ok("history", half, "--type", "failed").out
    ended = place.ended("rehearse", "--tenant", half, "--format", "json")
    (rehearsed,) = ended.json()["tenants"]
    assert (rehearsed["result"], rehearsed["source"], rehearsed["step"]) == ("failed", "live", 2)
    place.migration("002_half.sql", HALF.replace("TABLE mine", "TABLE theirs"))
    place.ok("rehearse", "--tenant", half)
    without_file(place, more=True)
    ended = place.ended("rehearse", "--tenant", half)
    assert ended.code == 3
    assert "it has landed in part" in ended.out


def test_counting_others_as_applied_does_not_forget_it(place: Place) -> None:
    """A baseline below it is refused; one that counts it, and a reset of the records, are a person's word."""
    half = place.names[1]
    place.migration("003_more.sql", THIRD)
    place.ok("reset", "--tenant", half, "--to", "0", "--mark-only", "-y")
    assert row(place, half)["state"] == "pending"
    place.ok("baseline", "--tenant", half, "--to", "001", "-y")
    assert place.ended("migrate", "--tenant", half).code == 3
    place.run(half, "ALTER TABLE notes DROP COLUMN tags")
    assert place.ended("migrate", "--tenant", half).code == 3
    ended = place.ended("baseline", "--tenant", half, "--to", "001", "-y")
    assert ended.code == 0, ended
    place.ok("baseline", "--tenant", half, "--to", "002", "-y")
    place.ok("migrate", "--tenant", half)
    assert row(place, half)["applied"] == ["001", "002", "003"]
