"""What the code's structure has reached, and keeps; `python -m tests.shape` prints how far the rest is."""

from __future__ import annotations

from typing import Final

import pytest

from tests.shape import circles, naming_a_database, places_naming_a_database

FREE_OF_CIRCLES: Final = (
    "ledger.dialects", "ledger.engines", "ledger.folder", "ledger.lint", "ledger.plan",
    "ledger.scripts", "ledger.sync",
)  # fmt: skip
NAMING_A_DATABASE: Final = 8
"""How many there are: lower it with each that goes."""
KNOW_NO_DATABASE: Final = ("folder/", "lint.py", "plan/", "scripts/", "sync/")


@pytest.mark.parametrize("package", FREE_OF_CIRCLES)
def test_files_of_a_package_import_each_other_in_no_circle(package: str) -> None:
    """Imports for types alone count: what two files need of each other belongs below both."""
    assert [
        circle for circle in circles() if any(f"{one}.".startswith(f"{package}.") for one in circle)
    ] == []


def test_a_name_in_a_condition_is_told_from_one_in_a_table() -> None:
    """Tables, types, texts and arguments look a database up; what decides by its name branches."""
    source = """
from ledger.drivers.sqlite import connect
SUFFIXES = {"sqlite": ".db", "mysql": ".sql.zst"}
def documented(): "Opens SQLite files."
def asked(request): return tenant(request, "mysql")
def tested(engine):
    if engine.dialect == "mysql": return 1
def chosen(url): return "a" if isinstance(url, MysqlUrl) else "b"
def matched(name):
    match name:
        case "sqlite": return 1
def filtered(targets): return [one for one in targets if one.engine == "sqlite"]
"""
    assert [(name, branches) for _, name, branches in naming_a_database(source)] == [
        ("from ledger.drivers.sqlite import connect", False),
        ("SUFFIXES", False),
        ("asked", False),
        ("tested", True),
        ("chosen", True),
        ("matched", True),
        ("filtered", True),
    ]


def test_few_places_name_a_database_and_none_decides_by_it() -> None:
    """Outside its packages a database is a key of the configuration, a fixture or a word of a help text."""
    places = places_naming_a_database()
    assert [place.where for place in places if place.branches] == []
    assert len(places) <= NAMING_A_DATABASE, places


@pytest.mark.parametrize("package", KNOW_NO_DATABASE)
def test_what_stands_above_the_dialects_names_no_database(package: str) -> None:
    """Who needs what differs between databases asks the dialect that a name stands for."""
    found = places_naming_a_database()
    assert [place for place in found if place.where.startswith(f"ledger/{package}")] == []
