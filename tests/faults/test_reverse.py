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
