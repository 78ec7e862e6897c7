"""`--to` in a fleet whose tenants follow different sets: it concerns those that have the version."""

from __future__ import annotations

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

ALL = "--all-tenants"


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """The first tenant follows the set `app` with two migrations, the second one `shop` with one."""
    place = make_place(request.param)
    config = place.folder / "ledger.toml"
    head, _, tenants = config.read_text().partition("[[tenants]]\n")
    first, second = place.names
    parts = []
    for name, folder in ((first, "app"), (second, "shop")):
        one = tenants.replace("data/*.db", f"data/{name}.db").replace(
            repr(place.names), repr([name])
        )
        parts.append(f'[[tenants]]\n{one}\nmigrations = "migrations/{folder}"\n')
    config.write_text(head + "\n".join(parts))
    down = "\n-- migrate:down\nDROP TABLE {};\n"
    place.migration("001_a.sql", "CREATE TABLE a (id INTEGER PRIMARY KEY);" + down.format("a"))
    place.migration("002_b.sql", "CREATE TABLE b (id INTEGER PRIMARY KEY);" + down.format("b"))
    place.terminal.write(
        "migrations/shop/001_s.sql", "CREATE TABLE s (id INTEGER PRIMARY KEY);" + down.format("s")
    )
    return place


def applied(place: Place) -> list[list[str]]:
    """Of both tenants."""
    rows = place.ended("status", "--format", "json").json()["tenants"]
    found = {row["tenant"]: row["applied"] for row in rows}
    return [found[name] for name in place.names]


def test_migrate_plan_and_rehearse(place: Place) -> None:
    """The other tenants are left alone, by name."""
    other = place.names[1]
    ended = place.ended("plan", ALL, "--to", "app/001", "--format", "json")
    planned = ended.json()
    assert [len(one["migrations"]) for one in planned["tenants"]] == [1, 0]
    assert [one["problem"] for one in planned["tenants"]] == ["", ""]
    assert any(f"left alone: {other}" in text for text in planned["warnings"])
    rehearsed = place.ok("rehearse", ALL, "--to", "app/001", "--format", "json").json()
    assert [one["tenant"] for one in rehearsed["tenants"]] == [place.names[0]]
    assert any(other in note for note in rehearsed["notes"])
    assert f"left alone: {other}" in place.ok("rehearse", ALL, "--to", "app/001").out
    shown = place.ok("migrate", ALL, "--to", "app/001").out
    assert f"left alone: {other}" in shown
    assert applied(place) == [["001"], []]
    place.ok("migrate", ALL, "--to", "app/001")
    place.ok("migrate", ALL, "--to", "002")
    assert applied(place) == [["001", "002"], []]
    place.ok("migrate", ALL, "--to", "001")
    assert applied(place) == [["001", "002"], ["001"]]


def test_baseline_and_reset_of_the_records(place: Place) -> None:
    """What is counted as applied, or no more, is of the set that was named."""
    place.ok("baseline", ALL, "--to", "app/002", "-y")
    assert applied(place) == [["001", "002"], []]
    place.ok("baseline", ALL, "--to", "shop/001", "-y")
    place.ok("reset", ALL, "--to", "app/001", "--mark-only", "-y")
    assert applied(place) == [["001"], ["001"]]
    assert place.events(place.names[1], "reset") == []
    place.ok("reset", ALL, "--to", "0", "--mark-only", "-y")
    assert applied(place) == [[], []]


@pytest.mark.parametrize(
    "command",
    [
        ("migrate",),
        ("plan",),
        ("rehearse",),
        ("baseline", "-y"),
        ("reset", "--mark-only", "-y"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("to", ["app/009", "store/001", "009"])
def test_what_no_tenant_has_is_refused_before_anything(
    place: Place, command: tuple[str, ...], to: str
) -> None:
    """With all that there are."""
    place.ok("migrate", "--tenant", place.names[1])
    ended = place.ended(*command, ALL, "--to", to)
    assert ended.code == 2
    assert f"no migration has version {to}" in ended.err
    assert "app/001, app/002, shop/001" in ended.err
    assert applied(place) == [[], ["001"]]
