"""A dialect is chosen in one place, and an unknown one is refused there."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from ledger.dialects import NAMES, Dialect, DialectName, dialect_of


@pytest.mark.parametrize("name", get_args(DialectName))
def test_every_name_has_its_dialect(name: DialectName) -> None:
    """What is stored and configured by name is looked up once, and is one object."""
    assert dialect_of(name).name == name
    assert all(hasattr(dialect_of(name), field) for field in Dialect.__annotations__)
    assert dialect_of(name) is dialect_of(name)


@pytest.mark.parametrize("name", ["postgresql", "mariadb", "MySQL", "", None])
def test_another_name_is_refused(name: Any) -> None:
    """No database silently gets the answers of another one."""
    with pytest.raises(AssertionError):
        dialect_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_nothing(name: DialectName) -> None:
    """What each method returns when there is nothing to find."""
    dialect = dialect_of(name)
    assert dialect.split("-- a comment\n", file="f").statements == []
    assert dialect.classify("").kind == "other"
    assert not dialect.is_dump("SELECT 1;")
    assert dialect.dump_hint("SELECT 1;", line="INSERT INTO t VALUES ('") == ""
    assert dialect.dump_part("SELECT 1", dump=True, sync=True) == ""
    assert not dialect.is_left_to_engine("SELECT 1")
    assert not dialect.is_idle("UPDATE t SET a = 1")
    assert dialect.settle(()).section.steps == ()
    assert dialect.in_order(()) == ()
    assert list(dialect.doubts(())) == []
    assert dialect.rebuilt_tables(()) == frozenset()
    section = dialect.settle(()).section
    assert list(dialect.deletes_unnamed(section, ())) == []
    assert list(dialect.lint(section, None, (), bound=True)) == []
