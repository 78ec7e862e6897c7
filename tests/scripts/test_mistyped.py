"""A directive with a slip in it is an error, and plain English is not."""

from __future__ import annotations

import pytest

from ledger.dialects.steps import DialectName
from ledger.errors import ScriptError
from ledger.scripts.mistyped import distance
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source

DIALECTS: tuple[DialectName, ...] = ("sqlite", "mysql")


def _parse(text: str, dialect: DialectName) -> Migration:
    return parse_migration(
        read_source(text.encode(), file="001_users.sql"), dialect, set_name="app"
    )


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("comment", "meant"),
    [
        ("-- skpi-if: table users", "skip-if:"),
        ("-- skip-fi: table users", "skip-if:"),
        ("-- skipif: table users", "skip-if:"),
        ("-- skip-if table users", "skip-if:"),
        ("-- skip_if table users", "skip-if:"),
        ("-- skip\u2013if: table users", "skip-if:"),
        ("-- skip-if\uff1atable users", "skip-if:"),
        ("-- Skip If: table users", "skip-if:"),
        ("-- skip-ifs: table users", "skip-if:"),
        ("-- @skip-if: table users", "skip-if:"),
        ("--- skip-if: table users", "skip-if:"),
        ("-- verfiy-step: SELECT 1", "verify-step:"),
        ("-- verify-setp: SELECT 1", "verify-step:"),
        ("-- verify step: SELECT 1", "verify-step:"),
        ("-- verify-step SELECT 1", "verify-step:"),
        ("-- redo-saef", "redo-safe"),
        ("-- redo safe", "redo-safe"),
        ("-- redo-safe: yes", "redo-safe"),
        ("-- redo-safe, since it only adds", "redo-safe"),
        ("-- Redo-Safe", "redo-safe"),
        ("-- redosafe", "redo-safe"),
        ("-- secert", "secret"),
        ("-- scret", "secret"),
        ("-- SECRET", "secret"),
        ("-- secret: true", "secret"),
        ("-- depend: 001", "depends:"),
        ("-- depnds: 001", "depends:"),
        ("-- Depends: 001, billing/003", "depends:"),
        ("-- depends billing/003", "depends:"),
        ("-- depends on billing/003", "depends:"),
        ("-- placeholers: off", "placeholders:"),
        ("-- Placeholders: off", "placeholders:"),
        ("-- placeholders off", "placeholders:"),
        ("-- mirgate:down", "migrate:"),
        ("-- foreign-keys: off", "foreign-key-check:"),
        ("-- foreign_key_checks: off", "foreign-key-check:"),
        ("-- migarte: up", "migrate:"),
        ("-- setp: Make users", "step:"),
        ("-- stpe: Make users", "step:"),
        ("-- chekc: All there", "check:"),
        ("-- cehck: All there", "check:"),
    ],
)
def test_a_slip_is_an_error(comment: str, meant: str, dialect: DialectName) -> None:
    """With its line and what was meant: nothing runs without the guard that its author wrote."""
    with pytest.raises(ScriptError) as caught:
        _parse(f"CREATE TABLE a (id INT);\n{comment}\nCREATE TABLE users (id INT);\n", dialect)
    assert caught.value.line == 2
    assert f"-- {meant}" in caught.value.hint


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "comment",
    [
        "-- Step 1: the tables",
        "-- Step: the tables",
        "-- Steps: first the tables, then the rows",
        "-- stop: do not run this by hand",
        "-- set: a set of rows",
        "-- Check: rows must be there",
        "-- checks: see below",
        "-- Note: users come from the importer",
        "-- Migration: 001_users",
        "-- Migrated: 2024-01-01",
        "-- migrated: from the old system",
        "-- Depends: on the importer",
        "-- Dependencies: the importer",
        "-- depends on the importer, see 001",
        "-- appends: rows of today",
        "-- Verify: by hand",
        "-- Verify steps: count the rows",
        "-- Skip: nothing",
        "-- skip if the table is there",
        "-- Secrets: none in this file",
        "-- secret sauce of the ranking",
        "-- Author: ana",
        "-- Date: 2024-01-01",
        "-- Description: users",
        "-- Redo: safe to run again",
        "-- redo the index",
        "-- -- skip-if: table users",
        "-- TODO: drop the old column",
        "-- https://example.org/depends: see there",
        "-- place: where the order was made",
        "-- foreign keys: see 004",
        "-- foreign-key: users",
        "/* step: one */",
        "/* skip-if: table users\n   and more prose */",
        "-- http://x",
    ],
)
def test_prose_is_no_directive(comment: str, dialect: DialectName) -> None:
    """A comment that says something of its own stays one, before a statement and at a file's end."""
    found = _parse(f"{comment}\nCREATE TABLE users (id INT);\n{comment}\n", dialect)
    assert [step.skip_if for step in found.up.steps] == [None]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "said", ["skip-if: table users", "redo-safe", "depends: 001", "placeholders: off"]
)
def test_a_directive_in_another_kind_of_comment_is_an_error(
    said: str, dialect: DialectName
) -> None:
    """In a block comment, and on MySQL behind #, it would say nothing."""
    for comment in (
        f"/* {said} */",
        f"/*\n * {said}\n */",
        *([f"# {said}"] * (dialect == "mysql")),
    ):
        with pytest.raises(ScriptError, match="has no effect") as caught:
            _parse(f"{comment}\nCREATE TABLE users (id INT);\n", dialect)
        assert f"-- {said}" in caught.value.hint


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "said", ["-- skip-if: column users.a", "-- redo-safe", "-- verify-step: SELECT 1"]
)
def test_a_directive_inside_a_statement_is_an_error(said: str, dialect: DialectName) -> None:
    """Between a statement's lines it would say nothing; in a literal it is data."""
    with pytest.raises(ScriptError) as caught:
        _parse(f"CREATE TABLE users\n{said}\n(id INT);\n", dialect)
    assert caught.value.line == 2
    assert len(_parse(f"INSERT INTO t VALUES ('\n{said}\n');\n", dialect).up.steps) == 1


def test_the_distance_counts_swapped_letters_once() -> None:
    """As a slip of the hand does."""
    assert distance("skpi-if", "skip-if", limit=2) == 1
    assert distance("skip", "skip-if", limit=2) == 3
    assert distance("migration", "migrate", limit=2) == 3
    assert distance("", "ab", limit=2) == 2
