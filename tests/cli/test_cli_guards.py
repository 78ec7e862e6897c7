"""Guards with names that need quotes, on every engine."""

from __future__ import annotations

import pytest

from ledger.errors import ScriptError
from ledger.scripts.directives import Directive, parse_skip_if
from tests.place import WITH_MYSQL, MakePlace

QUOTES = {"sqlite": ('"', '"'), "mariadb": ("`", "`"), "mysql": ("`", "`")}


@pytest.mark.parametrize("engine", WITH_MYSQL)
def test_a_name_with_a_space_is_found(engine: str, make_place: MakePlace) -> None:
    """Tables, columns and views with spaces and dots in their names: there, the step is skipped."""
    place = make_place(engine)
    first, second = place.names
    left, right = QUOTES[engine]

    def quoted(name: str) -> str:
        return left + name + right

    items, price, view = quoted("order items"), quoted("unit.price net"), quoted("all items")
    index = f"CREATE INDEX {quoted('by price')} ON {items} ({price})"
    made = [
        f"CREATE TABLE {items} (id INTEGER PRIMARY KEY, {price} INT)",
        index,
        f"CREATE VIEW {view} AS SELECT id FROM {items}",
    ]
    place.run(first, *made)
    place.migration(
        "001_items.sql",
        '-- skip-if: table "order items"\n'
        f"CREATE TABLE {items} (id INTEGER PRIMARY KEY);\n"
        "-- skip-if: column `order items`.[unit.price net]\n"
        f"ALTER TABLE {items} ADD COLUMN {price} INT;\n"
        f"-- skip-if:  index\t'by price'\n{index};\n"
        f'-- skip-if: view "all items"\n{made[2]};\n',
    )
    place.ok("migrate", "--all-tenants")
    assert len(place.events(first, "step_skipped")) == 4
    assert len(place.events(second, "step_applied")) == 4
    for name in place.names:
        assert place.run(name, f"SELECT count({price}) FROM {items}") == [(0,)]
        assert place.run(name, f"SELECT count(*) FROM {view}") == [(0,)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("table users", ("", "users")),
        ('table "order items"', ("", "order items")),
        ("table `a``b`", ("", "a`b")),
        ("table [odd; name]", ("", "odd; name")),
        ('column "a.b"."c d"', ("a.b", "c d")),
        ("column users . name", ("users", "name")),
        ('column {prefix}users."full name"', ("{prefix}users", "full name")),
    ],
)
def test_the_parts_of_a_guard(text: str, parts: tuple[str, str]) -> None:
    """A dot in quotes belongs to the name; a doubled quote stands for itself."""
    assert parse_skip_if(Directive("skip-if", text, "x.sql", 1)).parts == parts


@pytest.mark.parametrize(
    "text",
    ["table order items", 'table "users', 'table ""', "column users", 'table "a"."b"', "table a`b"],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    """With the form that it should have."""
    with pytest.raises(ScriptError) as caught:
        parse_skip_if(Directive("skip-if", text, "x.sql", 1))
    assert 'table "order items"' in caught.value.hint
