"""Placeholders."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.dialects.steps import DialectName
from ledger.errors import ConfigError, ScriptError
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.placeholders import (
    bind,
    bind_text,
    unknown_placeholders,
    validate_identifier_value,
)
from ledger.scripts.source import read_source


def _migration(text: str, dialect: DialectName = "mysql") -> Migration:
    return parse_migration(read_source(text.encode(), file="001_x.sql"), dialect, set_name="s")


def test_values_are_put_in_wherever_they_stand() -> None:
    """In names, strings, comments, guards and checks; once, so that a value's own braces stay."""
    text = (
        "-- migrate:up\n-- step: Make {prefix}t\n-- skip-if: table {prefix}t\n"
        "-- verify-step: SELECT '{site}'\n"
        "CREATE TABLE `{prefix}t` (a TEXT /* {site} */ DEFAULT '{site} {other}');\n"
        "-- migrate:down\nDROP TABLE {prefix}t;\n-- migrate:verify\n-- check: {site}\nSELECT '{site}';\n"
    )
    bound = bind(_migration(text), {"prefix": "wp_", "site": "{prefix}"})
    step = bound.up.steps[0]
    assert step.name == "Make wp_t"
    assert step.sql == "CREATE TABLE `wp_t` (a TEXT /* {prefix} */ DEFAULT '{prefix} {other}')"
    assert step.sha256 == hashlib.sha256(step.sql.encode()).hexdigest()
    assert step.skip_if is not None and step.skip_if.subject == "wp_t"
    assert step.verify_step == "SELECT '{prefix}'"
    assert bound.down is not None and bound.down.steps[0].sql == "DROP TABLE wp_t"
    assert (bound.checks[0].name, bound.checks[0].sql) == ("{prefix}", "SELECT '{prefix}'")


@pytest.mark.parametrize(
    ("dialect", "sql", "line"),
    [
        ("mysql", "SELECT 1;\nSELECT\n {prefx}t", 3),
        ("mysql", "SELECT `{prefx}t`", 1),
        ("mysql", "/*! SELECT {prefx} */", 1),
        ("sqlite", 'SELECT 1,\n "{prefx}t"', 2),
        ("sqlite", "-- skip-if: table {prefx}t\nSELECT 1", 2),
    ],
)
def test_an_unknown_placeholder_is_refused(dialect: DialectName, sql: str, line: int) -> None:
    """Outside literals and comments it is an error with its line and the nearest known name."""
    migration = _migration(sql, dialect)
    assert [one.name for one in unknown_placeholders(migration, {"prefix"})] == ["prefx"]
    with pytest.raises(ScriptError, match=r"unknown placeholder \{prefx\}") as caught:
        bind(migration, {"prefix": "a_"})
    assert caught.value.line == line
    assert caught.value.hint.startswith("Did you mean {prefix}?")


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("mysql", "SELECT '{a}', \"{b}\", '\\'{c}', 'x''{d}' -- {e}\n /* {f} */ # {g}"),
        ("sqlite", "SELECT '{a}', 'it''s {b}' -- {c}\n/* {d} */"),
        ("sqlite", "-- placeholders: off\nSELECT {a}, {prefix}"),
        ("sqlite", "SELECT '{\"a\": {}}', '{ a }', '{1}'"),
    ],
)
def test_braces_in_data_stay(dialect: DialectName, sql: str) -> None:
    """JSON, templates and comments are left alone, and the very same migration comes back."""
    migration = _migration(sql, dialect)
    assert bind(migration, {"prefix": "p_"}) is migration


@given(
    st.text(), st.dictionaries(st.from_regex(r"[a-z_]{1,3}", fullmatch=True), st.text(max_size=5))
)
def test_binding_replaces_exactly_the_known_names(text: str, variables: dict[str, str]) -> None:
    """Each known name, in any text, becomes its value; everything else stays."""
    names = list(variables)
    mixed = text.replace("{", "").join(f"{{{name}}}" for name in names)
    expected = text.replace("{", "").join(variables[name] for name in names)
    assert bind_text(mixed, variables) == expected


@pytest.mark.parametrize("value", ["a b", "a;", "a`", "ä", "a\n", "a-b", "'", "{x}"])
def test_an_unsafe_prefix_is_refused(value: str) -> None:
    """Letters, digits, _ and $ are all that can become a part of an identifier."""
    with pytest.raises(ConfigError, match=r"\{prefix\}"):
        bind(_migration("SELECT * FROM {prefix}t"), {"prefix": value})
    assert validate_identifier_value("prefix", "wp_2$") == "wp_2$"


@pytest.mark.parametrize("word", ["skip-if: sql:", "verify-step:", ""])
def test_behind_a_backslash_that_escapes_nothing(word: str) -> None:
    """The file's own NO_BACKSLASH_ESCAPES ends the literal, in a step as in its questions."""
    asked = "SELECT 'C:\\', a FROM {prefx}t WHERE b = 'x'"
    lines = [f"-- {word} {asked}", "DELETE FROM t"] if word else [asked]
    migration = _migration("\n".join(["SET sql_mode = 'NO_BACKSLASH_ESCAPES';", *lines]))
    assert [one.name for one in unknown_placeholders(migration, {"prefix"})] == ["prefx"]
