"""The engine contract's part on dropping what migrations created, on every database alike."""

from __future__ import annotations

import pytest

from ledger.engines.base import Engine, Target
from ledger.errors import FencedError
from ledger.scripts.created import Owned
from tests.engines.adapters import Adapter
from tests.engines.work import LEDGER, ref

PARENTS = "CREATE TABLE parents (id INTEGER PRIMARY KEY)"
CHILDREN = (
    "CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER,"
    " FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE)"
)
BOTH = (Owned(kind="table", name="children"), Owned(kind="table", name="parents"))


async def test_drops_what_is_named_and_empties_the_marker(
    engine: Engine, adapter: Adapter, target: Target
) -> None:
    """Once more changes nothing; what is not named stays."""
    adapter.run(target, PARENTS, CHILDREN, "CREATE TABLE mine (id INTEGER PRIMARY KEY)")
    async with engine.open(target) as session:
        await session.adopt([ref()], epoch=1, ledger=LEDGER)
        mark = await session.drop(BOTH, epoch=2, ledger=LEDGER)
        assert mark.fingerprint == (await session.mark()).fingerprint
        marker = await session.marker()
        assert (marker.epoch, marker.ledger, marker.entries) == (2, LEDGER, ())
        assert (await session.drop(BOTH, epoch=2, ledger=LEDGER)).fingerprint == mark.fingerprint
    assert adapter.tables(target) == {"mine"}


async def test_a_newer_claim_stops_it(engine: Engine, adapter: Adapter, target: Target) -> None:
    """A runner that lost its claim drops nothing."""
    adapter.run(target, PARENTS, CHILDREN)
    async with engine.open(target) as session:
        await session.fence(epoch=5, ledger=LEDGER)
    async with engine.open(target) as session:
        with pytest.raises(FencedError):
            await session.drop(BOTH, epoch=4, ledger=LEDGER)
    assert adapter.tables(target) == {"parents", "children"}
