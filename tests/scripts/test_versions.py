"""Versions and file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ScriptError
from ledger.scripts.version import is_migration_file, parse_file_name, version_key

PARTS = st.lists(st.integers(min_value=0, max_value=10**15), min_size=1, max_size=4)


def _written(parts: list[int], width: int) -> str:
    return ".".join(f"{part:0{width}}" for part in parts)


@given(PARTS, PARTS, st.integers(1, 5), st.integers(1, 5))
def test_versions_compare_part_by_part_as_numbers(
    left: list[int], right: list[int], left_width: int, right_width: int
) -> None:
    """However many zeros stand before a part or after all parts, only the numbers order versions."""
    longest = max(len(left), len(right))
    left_key, right_key = (
        version_key(_written(left, left_width)),
        version_key(_written(right, right_width)),
    )
    assert left_key is not None and right_key is not None
    padded_left = left + [0] * (longest - len(left))
    padded_right = right + [0] * (longest - len(right))
    assert (left_key < right_key) == (padded_left < padded_right)
    assert (left_key == right_key) == (padded_left == padded_right)


@pytest.mark.parametrize("text", ["", "1.", ".1", "1..2", "v1", "1-2", "٣", "1" * 65, "1_0", " 1"])
def test_what_is_no_version_has_no_key(text: str) -> None:
    """Only digits and single dots make a version, and at most 64 characters."""
    assert version_key(text) is None


@pytest.mark.parametrize(
    ("name", "version", "rest", "kind"),
    [
        ("001_initial_schema.sql", "001", "initial_schema", "sql"),
        ("2.0.0_preset_assistants.sql", "2.0.0", "preset_assistants", "sql"),
        ("20261121103000_add_x.sql", "20261121103000", "add_x", "sql"),
        ("3_fill.py", "3", "fill", "py"),
        ("4_2fa_for_users.sql", "4", "2fa_for_users", "sql"),
    ],
)
def test_file_names_have_a_version_and_a_name(
    name: str, version: str, rest: str, kind: str
) -> None:
    """The three manners of versions, and both kinds of files."""
    found = parse_file_name(name)
    assert (found.version, found.name, found.kind) == (version, rest, kind)
    assert is_migration_file(name)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("initial.sql", "001_initial.sql"),
        ("001-initial-schema.sql", "001_initial_schema.sql"),
        ("V1.1__AddUsers.sql", "1.1_add_users.sql"),
        ("002_Add Users.SQL", "002_add_users.sql"),
        ("003_.sql", "003_add_something.sql"),
        ("7.sql", "7_add_something.sql"),
    ],
)
def test_a_wrong_name_is_told_the_right_form_of_itself(name: str, right: str) -> None:
    """The hint names the very file as it should be called, and that name is right."""
    with pytest.raises(ScriptError) as caught:
        parse_file_name(name)
    assert repr(name) in caught.value.message
    assert caught.value.hint.endswith(f"{right}.")
    assert is_migration_file(right)
