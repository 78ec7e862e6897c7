"""One engine after the other: each database's adapter, its engine, and a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger.engines.base import Engine, Target
from tests.engines.adapters import ADAPTERS, Adapter, make_adapter


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    """Each database in turn."""
    return make_adapter(request.param, request, tmp_path)


@pytest.fixture
async def engine(adapter: Adapter) -> AsyncIterator[Engine]:
    """An engine, closed at the end."""
    engine = adapter.engine()
    yield engine
    await engine.aclose()


@pytest.fixture
def target(adapter: Adapter) -> Target:
    """A fresh, empty tenant."""
    return adapter.target()
