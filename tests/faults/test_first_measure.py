"""What is measured before a migration and compared at its end: after a kill the first measurement counts."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ledger.failpoints import POINTS
from tests.faults.conftest import MakeWorld
from tests.faults.world import World

SHOP: Final = """\
CREATE TABLE customers (id INTEGER PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id));
INSERT INTO customers VALUES (1), (2);
"""
BREAKS: Final = """\
-- migrate:up transaction:false
DELETE FROM customers WHERE id = 2;
PRAGMA user_version = 3;
ALTER TABLE orders RENAME TO purchases;
"""
OLD: Final = "INSERT INTO orders VALUES (1, 1), (2, 2), (3, 77)"
MIGRATE: Final = ("migrate", "--all-tenants")
REFUSED: Final = "1 row of 'purchases' would refer to nothing in 'customers'"

USERS: Final = "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(40), age INT);\n"
GROWS: Final = """\
CREATE INDEX users_age ON users(age);
CREATE TABLE first (id INTEGER PRIMARY KEY);
CREATE TABLE second (id INTEGER PRIMARY KEY, words VARCHAR(40));
INSERT INTO second VALUES (1, 'one');
CREATE INDEX second_words ON second(words);
"""
QUERY: Final = "-- query: by age\nSELECT id FROM users WHERE age = 7;\n"
EXPLAIN: Final = (*MIGRATE, "--explain", "queries.sql")
KINDS: Final = [
    pytest.param("sqlite", "", id="sqlite"),
    pytest.param("sqlite", "-- migrate:up transaction:false\n", id="sqlite-stepwise"),
    pytest.param("mariadb", "", id="mariadb"),
    pytest.param("mysql", "", id="mysql", marks=pytest.mark.mysql),
]
WALK: Final = [point for point in POINTS if not point.startswith(("restore.", "backup."))]


def _shop(make_world: MakeWorld) -> World:
    """One tenant with a reference that dangles from long ago, before a file that breaks another."""
    world = make_world("sqlite", tenants=("a",), migrations={"001_shop.sql": SHOP})
    world.ok(*MIGRATE)
    world.sql("a", OLD)
    (world.root / "migrations" / "002_breaks.sql").write_text(BREAKS)
    return world


@pytest.mark.fault(51)
@pytest.mark.parametrize("again", [1, 3])
def test_a_broken_reference_is_refused_however_often(make_world: MakeWorld, again: int) -> None:
    """The damage that a first attempt has done does not count as there before at the next."""
    world = _shop(make_world)
    for _ in range(again):
        ended = world.run(*MIGRATE)
        assert ended.code == 3
        assert REFUSED in ended.out + ended.err
        assert "Its steps have landed" in ended.out + ended.err
    world.sql("a", "DELETE FROM purchases WHERE id = 2")
    world.ok(*MIGRATE)
    assert world.sql("a", "SELECT id FROM purchases") == [(1,), (3,)]


@pytest.mark.fault(51)
@pytest.mark.parametrize("point", WALK)
def test_a_broken_reference_is_refused_after_any_kill(make_world: MakeWorld, point: str) -> None:
    """Killed wherever it may be, and again in the re-run: refused as if nothing had happened."""
    world = _shop(make_world)
    for count in (1, 2):
        world.run(*MIGRATE, failpoint=f"{point}:{count}")
        ended = world.run(*MIGRATE)
        assert ended.code == 3, ended
        assert REFUSED in ended.out + ended.err


def _measured(world: World) -> list[tuple[Any, ...]]:
    """What the events of 002 say of its before."""
    found = []
    for event in world.history():
        body = event["body"]
        if event["type"] == "explained" and body["version"] == "002":
            found.append((event["tenant"], "plans", body["plans"]))
        if event["type"] == "completed" and body["migration"]["version"] == "002":
            found.append((event["tenant"], "bytes", body["bytes_before"]))
    return sorted(found)


def _users(make_world: MakeWorld, kind: str, head: str) -> World:
    world = make_world(kind, migrations={"001_users.sql": USERS.replace("users", "{prefix}users")})
    world.ok(*MIGRATE)
    text = GROWS
    for name in ("users", "first", "second"):
        text = text.replace(f" {name} ", f" {{prefix}}{name} ").replace(
            f" {name}(", f" {{prefix}}{name}("
        )
    (world.root / "migrations" / "002_grows.sql").write_text(head + text)
    (world.root / "queries.sql").write_text(QUERY.replace("users", "{prefix}users"))
    return world


_undisturbed: dict[tuple[str, str], list[tuple[Any, ...]]] = {}


@pytest.mark.fault(51)
@pytest.mark.parametrize("point", WALK)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_sizes_and_plans_are_those_from_before(
    make_world: MakeWorld, kind: str, head: str, point: str
) -> None:
    """`bytes_before` and the query plans of the record are what an undisturbed run would have recorded."""
    if (kind, head) not in _undisturbed:
        world = _users(make_world, kind, head)
        world.ok(*EXPLAIN)
        _undisturbed[kind, head] = _measured(world)
    expected = _undisturbed[kind, head]
    assert any("changed" in str(one) for one in expected), expected
    world = _users(make_world, kind, head)
    world.run(*EXPLAIN, failpoint=f"{point}:2")
    world.ok(*EXPLAIN)
    assert _measured(world) == expected


OWN: Final = """\
CREATE TABLE IF NOT EXISTS {prefix}theirs (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS {prefix}first (id INTEGER PRIMARY KEY);
-- skip-if: table {prefix}second
CREATE TABLE IF NOT EXISTS {prefix}second (id INTEGER PRIMARY KEY);
-- skip-if: view {prefix}seen
CREATE OR REPLACE VIEW {prefix}seen AS SELECT id FROM {prefix}second;
CREATE TABLE IF NOT EXISTS {prefix}third (id INTEGER PRIMARY KEY);
"""


@pytest.mark.fault(51)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "point", ["engine.before_marker", "engine.after_marker", "runner.before_record"]
)
def test_what_a_killed_attempt_made_is_not_the_applications(
    make_world: MakeWorld, on: str, point: str, count: int
) -> None:
    """IF NOT EXISTS finds it when it is run again; `reset --drop-all` drops it, and the application's stays."""
    world = make_world(on, migrations={"001_own.sql": OWN})
    for name in world.tenants:
        table = f"{world.place(name)[1]}theirs"  # type: ignore[attr-defined]
        world.sql(name, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
    world.run(*MIGRATE, failpoint=f"{point}:{count}")
    world.ok(*MIGRATE)
    assert world.history("--type", "step_skipped") == []
    named = [word for name in world.tenants for word in ("--yes-drop", name)]
    world.ok("reset", "--drop-all", "--all-tenants", "--reason", "test", *named)
    assert {name: list(held) for name, held in world.state().items()} == {
        name: ["theirs"] for name in world.tenants
    }
