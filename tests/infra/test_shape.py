"""What the code's structure has reached, and keeps; `python -m tests.shape` prints how far the rest is."""

from __future__ import annotations

from typing import Final

import pytest

from tests.shape import (
    LONGEST_FILE,
    LONGEST_FUNCTION,
    circles,
    functions,
    naming_a_database,
    places_naming_a_database,
    python_files,
)

NAMING_A_DATABASE: Final = 8
"""How many there are: lower it with each that goes."""
KNOW_NO_DATABASE: Final = ("folder/", "lint.py", "plan/", "scripts/", "sync/")


def test_files_import_each_other_in_no_circle() -> None:
    """Imports for types alone count: what two files need of each other belongs below both."""
    assert circles() == []


def test_no_file_and_no_function_is_longer_than_its_limit() -> None:
    """In lines; of a function without its docstring."""
    files = [(path.read_text().count("\n"), path.name) for path in python_files()]
    assert [long for long in files if long[0] > LONGEST_FILE] == []
    assert [long for long in functions() if long[0] > LONGEST_FUNCTION] == []


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
