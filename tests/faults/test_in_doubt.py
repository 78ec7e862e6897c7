"""A statement that nobody can settle, killed exactly there: only that tenant stops, and a person decides."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import ServerWorld, World

ALL: Final = ("migrate", "--all-tenants")
COUNTED: Final = """\
CREATE TABLE {prefix}c (n INT) ENGINE=MyISAM;
INSERT INTO {prefix}c VALUES (1);
CREATE TABLE {prefix}after (x INT);
-- migrate:down
DROP TABLE {prefix}after;
INSERT INTO {prefix}c VALUES (2);
DROP TABLE {prefix}c;
"""
UP_TO_IT: Final = "engine.after_statement:2"
SERVERS: Final = ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]


def status(world: World) -> dict[str, str]:
    """The state of each tenant."""
    rows = world.ok("status", "--format", "json").json()["tenants"]
    return {row["tenant"]: row["state"] for row in rows}


def counted(world: World) -> list[tuple[Any, ...]]:
    """What is in the table that no transaction covers."""
    assert isinstance(world, ServerWorld)
    return world.sql("whole", "SELECT n FROM c ORDER BY n")


@pytest.mark.fault(6)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("word", ["--applied", "--not-applied"])
def test_a_step_in_doubt_waits_for_a_word(kind: str, word: str, make_world: MakeWorld) -> None:
    """Named with what was seen and the command; the others go on; after `resolve` so does it."""
    world = make_world(kind, migrations={"001_counted.sql": COUNTED})
    assert world.run("migrate", "--tenant", "whole", failpoint=UP_TO_IT).killed
    assert counted(world) == [(1,)]
    for _ in range(2):
        ended = world.run(*ALL)
        assert ended.code == 3, ended
        assert "ledger resolve" in ended.out, ended
        assert status(world) == {"p1": "current", "p2": "current", "whole": "in_doubt"}
    assert counted(world) == [(1,)]
    world.ok("resolve", "--tenant", "whole", word, "--reason", "looked", "-y")
    world.ok(*ALL)
    assert counted(world) == ([(1,)] if word == "--applied" else [(1,), (1,)])
    assert world.history("whole", "--type", "resolved")[0]["body"]["how"] == word[2:].replace(
        "-", "_"
    )
    world.check_ledger(["001"])


@pytest.mark.fault(6)
@pytest.mark.parametrize("kind", SERVERS)
def test_an_undoing_in_doubt_stays_so_whatever_else_is_typed(
    kind: str, make_world: MakeWorld
) -> None:
    """Neither `migrate` with nothing pending nor one with more to do loses what was seen."""
    world = make_world(kind, migrations={"001_counted.sql": COUNTED})
    undo = ("rollback", "001", "--tenant", "whole", "-y")
    world.ok(*ALL)
    assert world.run(*undo, failpoint=UP_TO_IT).killed
    assert world.run(*undo).code == 3
    assert status(world)["whole"] == "in_doubt"
    for more in ("", "CREATE TABLE {prefix}more (x INT);\n"):
        if more:
            (world.root / "migrations" / "002_more.sql").write_text(more)
        ended = world.run(*ALL)
        assert ended.code == 3, ended
        assert "ledger resolve" in ended.out, ended
        assert status(world)["whole"] == "in_doubt"
    world.ok("resolve", "--tenant", "whole", "--applied", "--reason", "looked", "-y")
    assert world.run(*ALL).code == 3
    world.ok(*undo)
    world.ok(*ALL)
    world.check_ledger(["001", "002"])


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("word", ["--applied", "--not-applied"])
def test_what_a_step_in_doubt_says_settles_it(kind: str, word: str, make_world: MakeWorld) -> None:
    """The command of the hint, with one of its three words; then the run goes on."""
    world = make_world(kind, migrations={"001_counted.sql": COUNTED})
    assert world.run("migrate", "--tenant", "whole", failpoint=UP_TO_IT).killed
    ended = world.run("migrate", "--tenant", "whole")
    assert ended.code == 3 and "To continue:" not in ended.out, ended
    (command,) = re.findall(r"`ledger (resolve [^`]+)`", ended.out)
    assert command == "resolve whole --applied"
    world.ok(*command.split()[:-1], word, "-y")
    world.ok("migrate", "--tenant", "whole")
