"""What undoes a migration is never run to apply one, whatever tool wrote it that way."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeWorld

ALL = ("migrate", "--all-tenants")
KINDS = ["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]


@pytest.mark.fault(50)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "mark",
    ["-- +goose Down", "/* migrate:down */", "-- Down", "# --- !Downs", "--//@UNDO"],
    ids=["goose", "own", "heading", "play", "mybatis"],
)
def test_another_tools_down_half_is_refused(mark: str, kind: str, make_world: MakeWorld) -> None:
    """By every command that reads the folder, with file and line; tenants and ledger stay as they were."""
    world = make_world(kind)
    world.ok("migrate", "--all-tenants", "--to", "001")
    before = world.state()
    path = world.root / "migrations" / "004_more.sql"
    path.write_text(
        f"ALTER TABLE {{prefix}}notes ADD COLUMN more INT;\n\n{mark}\nDROP TABLE {{prefix}}notes;\n"
    )
    for command in (ALL, ("plan", "--all-tenants"), ("rehearse", "--all-tenants")):
        ended = world.run(*command)
        assert ended.code == 2, ended
        assert "004_more.sql:3" in ended.err, ended
    assert "004_more.sql" in world.run("lint").out
    assert world.state() == before
    path.unlink()
    world.check_ledger(["001"])
    world.ok(*ALL)


@pytest.mark.fault(50)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("forward", "reverse"),
    [
        ("up/001_notes.sql", "down/001_notes.sql"),
        ("deploy/001_notes.sql", "revert/001_notes.sql"),
        ("app/up/001_notes.sql", "app/down/001_notes.sql"),
        ("001_notes/up.sql", "001_notes/down.sql"),
        ("app/001_notes.sql", "app/001_notes_down.sql"),
        ("app/001_notes.up.sql", "app/001_notes.undo.sql"),
    ],
    ids=["up-down", "deploy-revert", "nested", "diesel", "suffix", "undo"],
)
def test_a_layout_of_the_reverse_direction_is_refused(
    forward: str, reverse: str, kind: str, make_world: MakeWorld
) -> None:
    """Nothing is made, nothing is dropped, and what the error says to type makes a set of it."""
    world = make_world(kind, migrations={})
    for name, text in (
        (forward, "CREATE TABLE {prefix}notes (id INTEGER PRIMARY KEY);\n"),
        (reverse, "DROP TABLE {prefix}notes;\n"),
    ):
        path = world.root / "migrations" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = world.state()
    for command in (ALL, ("plan", "--all-tenants"), ("rehearse", "--all-tenants")):
        ended = world.run(*command)
        assert ended.code == 2 and "mv " in ended.err, ended
        assert reverse.rpartition("/")[0] in ended.err, ended
    assert world.state() == before
