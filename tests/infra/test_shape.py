"""What the code's structure has reached, and keeps; `python -m tests.shape` prints how far the rest is."""

from __future__ import annotations

from typing import Final

import pytest

from tests.shape import circles, places_naming_a_database

FREE_OF_CIRCLES: Final = (
    "ledger.dialects", "ledger.engines", "ledger.folder", "ledger.lint", "ledger.plan",
    "ledger.scripts", "ledger.sync",
)  # fmt: skip
KNOW_NO_DATABASE: Final = ("folder/", "lint.py", "plan/", "scripts/", "sync.py")


@pytest.mark.parametrize("package", FREE_OF_CIRCLES)
def test_files_of_a_package_import_each_other_in_no_circle(package: str) -> None:
    """Imports for types alone count: what two files need of each other belongs below both."""
    assert [
        circle for circle in circles() if any(f"{one}.".startswith(f"{package}.") for one in circle)
    ] == []


@pytest.mark.parametrize("package", KNOW_NO_DATABASE)
def test_what_stands_above_the_dialects_names_no_database(package: str) -> None:
    """Who needs what differs between databases asks the dialect that a name stands for."""
    found = places_naming_a_database()
    assert [place for place in found if place.startswith(f"ledger/{package}")] == []
