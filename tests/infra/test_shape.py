"""What the code's structure has reached, and keeps; `python -m tests.shape` prints how far the rest is."""

from __future__ import annotations

from typing import Final

import pytest

from tests.shape import circles

FREE_OF_CIRCLES: Final = ("ledger.engines",)


@pytest.mark.parametrize("package", FREE_OF_CIRCLES)
def test_files_of_a_package_import_each_other_in_no_circle(package: str) -> None:
    """Imports for types alone count: what two files need of each other belongs below both."""
    assert [
        circle for circle in circles() if any(f"{one}.".startswith(f"{package}.") for one in circle)
    ] == []
