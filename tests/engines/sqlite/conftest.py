"""A tenant of SQLite for the tests that are about this engine alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.sqlite_child import make_items


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A tenant with the table `items`."""
    path = tmp_path / "tenant.db"
    make_items(path)
    return path
