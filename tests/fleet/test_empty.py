"""What has no steps: an empty down part undoes nothing, and an empty migration says that it is meant."""

from __future__ import annotations

import pytest

from tests.place import WITH_MYSQL, MakePlace

TABLE = "CREATE TABLE notes (id INTEGER PRIMARY KEY);\n"
EMPTY_DOWNS = {
    "nothing": "-- migrate:down\n",
    "a comment": "-- migrate:down\n-- there is no way back\n",
    "a heading": "-- migrate:down\n-- Down\n/* DROP TABLE notes; */\n",
}


@pytest.mark.parametrize("engine", WITH_MYSQL)
@pytest.mark.parametrize("down", EMPTY_DOWNS)
def test_an_empty_down_part_undoes_nothing(down: str, engine: str, make_place: MakePlace) -> None:
    """lint, the plan, the rehearsal and the rollback agree: from the backup only."""
    place = make_place(engine)
    place.migration("001_notes.sql", TABLE + EMPTY_DOWNS[down])
    assert "from a backup only" in place.ok("lint").out
    rehearsed = place.ok("rehearse", "--all-tenants", "--format", "json").json()
    assert {one["down"] for tenant in rehearsed["tenants"] for one in tenant["migrations"]} == {
        "none"
    }
    place.ok("migrate", "--all-tenants")
    name = place.names[0]
    refused = place.ended("rollback", "--tenant", name, "--by", "script", "-y")
    assert refused.code == 3 and "no down steps" in refused.out
    planned = place.ok("rollback", "--tenant", name, "--dry-run", "--format", "json").json()
    assert planned["tenants"][0]["migrations"][0]["how"].startswith("backup ")
    place.ok("rollback", "--tenant", name, "-y")
    assert place.objects(name) == {"mine"}
    place.ok("migrate", "--tenant", name)
    assert place.objects(name) == {"mine", "notes"}


IDLE_DOWNS = {
    "transaction": "BEGIN;\nCOMMIT;\n",
    "settings": "SET FOREIGN_KEY_CHECKS = 0;\nSET @old = 1;\n",
    "pragma": "PRAGMA foreign_keys = OFF;\n",
}


@pytest.mark.parametrize(
    ("engine", "down"),
    [
        ("sqlite", "transaction"),
        ("sqlite", "pragma"),
        ("mariadb", "transaction"),
        ("mariadb", "settings"),
        pytest.param("mysql", "settings", marks=pytest.mark.mysql),
    ],
)
def test_a_down_part_that_ends_with_its_connection_undoes_nothing(
    engine: str, down: str, make_place: MakePlace
) -> None:
    """A transaction around nothing, settings of the connection: with and without a transaction."""
    place = make_place(engine)
    for option in ("", " transaction:false"):
        place.migration("001_notes.sql", f"{TABLE}-- migrate:down{option}\n{IDLE_DOWNS[down]}")
        assert "from a backup only" in place.ok("lint").out
    place.ok("migrate", "--all-tenants")
    place.ok("rollback", "--all-tenants", "-y")
    assert place.objects(place.names[0]) == {"mine"}


@pytest.mark.parametrize("engine", WITH_MYSQL)
@pytest.mark.parametrize("body", ["pass", "...", '"""There is no way back."""\n    return None'])
def test_an_empty_function_undoes_nothing(body: str, engine: str, make_place: MakePlace) -> None:
    """A Python migration whose `down` has no statement that acts is undone from its backup."""
    place = make_place(engine)
    config = place.folder / "ledger.toml"
    config.write_text(f"allow_python = true\n{config.read_text()}")
    sql = "CREATE TABLE notes (id INTEGER PRIMARY KEY)"
    place.migration(
        "001_notes.py",
        f"async def up(tenant):\n    await tenant.execute({sql!r})\n"
        f"async def down(tenant):\n    {body}\n",
    )
    assert "from a backup only" in place.ok("lint").out
    place.ok("migrate", "--all-tenants")
    place.ok("rollback", "--all-tenants", "-y")
    assert place.objects(place.names[0]) == {"mine"}


@pytest.mark.parametrize("engine", WITH_MYSQL)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "-- migrate:up\n\n-- migrate:down\n",
        "-- nothing yet\n",
        "-- migrate:verify\nSELECT 1;\n",
    ],
)
def test_an_empty_migration_is_refused(text: str, engine: str, make_place: MakePlace) -> None:
    """By name and before anything is touched, what is pending before it included."""
    place = make_place(engine)
    place.migration("001_notes.sql", TABLE)
    place.migration("002_later.sql", text)
    for command in ("migrate", "plan", "rehearse"):
        ended = place.ended(command, "--all-tenants")
        assert ended.code == 2 and "002_later.sql" in ended.err, ended
        assert "-- no-steps: WHY" in ended.err
    assert place.objects(place.names[0]) == {"mine"}
    assert "it has no step" in place.ended("lint").out
    status = place.ok("status", "--format", "json").json()
    assert {one["state"] for one in status["tenants"]} == {"new"}
    place.ok("migrate", "--all-tenants", "--to", "001")
    assert place.objects(place.names[0]) == {"mine", "notes"}


@pytest.mark.parametrize("engine", WITH_MYSQL)
def test_an_empty_migration_that_says_so_is_applied_and_undone(
    engine: str, make_place: MakePlace
) -> None:
    """It has its number, runs its checks, and there is nothing to undo."""
    place = make_place(engine)
    place.migration("001_notes.sql", TABLE + "-- migrate:down\nDROP TABLE notes;\n")
    why = "-- no-steps: its work is in 001\n-- migrate:verify\nSELECT count(*) = 0 FROM notes;\n"
    path = place.migration("002_kept.sql", why)
    assert "no step" not in place.ok("lint").out + place.ok("plan", "--all-tenants").err
    place.ok("migrate", "--all-tenants")
    assert [
        one["body"]["migration"]["version"] for one in place.events(place.names[0], "completed")
    ] == ["001", "002"]
    assert place.ended("validate").code == 0
    path.unlink()
    place.ok("rollback", "--all-tenants", "--to", "0", "--by", "script", "-y")
    assert place.objects(place.names[0]) == {"mine"}


@pytest.mark.parametrize("engine", WITH_MYSQL)
def test_counting_as_applied_takes_empty_migrations_along(
    engine: str, make_place: MakePlace
) -> None:
    """baseline and reset --mark-only run nothing, and so refuse nothing."""
    place = make_place(engine)
    place.migration("001_notes.sql", TABLE)
    place.migration("002_later.sql", "")
    place.ok("baseline", "--all-tenants", "--to", "002", "-y")
    place.ok("reset", "--all-tenants", "--to", "001", "--mark-only", "-y", "--reason", "test")
    applied = {
        tuple(one["applied"]) for one in place.ok("status", "--format", "json").json()["tenants"]
    }
    assert applied == {("001",)}
    assert place.ended("migrate", "--all-tenants").code == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("-- no-steps:\n", 1),
        ("-- no-steps: why\nSELECT 1;\n", 1),
        ("SELECT 1;\n-- no-steps: why\n", 2),
        ("SELECT 1;\n-- migrate:down\n-- no-steps: why\n", 3),
        ("-- no-stpes: why\n", 1),
    ],
)
def test_a_reason_stands_where_there_is_no_step(
    text: str, line: int, make_place: MakePlace
) -> None:
    """It is held to its form and place, and a slip in it is one."""
    place = make_place("sqlite")
    place.migration("001_x.sql", text)
    ended = place.ended("migrate", "--all-tenants")
    assert ended.code == 2 and f"001_x.sql:{line}" in ended.err, ended
