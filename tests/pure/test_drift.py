"""What most tenants have, as the measure where the migrations themselves cannot be replayed."""

from __future__ import annotations

from collections import Counter

import pytest

from ledger.drift import agreed


@pytest.mark.parametrize(
    ("votes", "wanted"),
    [
        ({}, ""),
        ({"a": 1}, ""),
        ({"a": 3}, "a"),
        ({"a": 3, "b": 2}, "a"),
        ({"a": 3, "b": 3}, ""),
        ({"a": 3, "b": 2, "c": 1}, ""),
    ],
)
def test_more_than_half_agree(votes: dict[str, int], wanted: str) -> None:
    """Exactly half of the tenants, or a single one, is no majority."""
    assert agreed(Counter(votes)) == wanted
