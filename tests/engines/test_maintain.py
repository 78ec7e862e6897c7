"""The maintenance contract: what ledger/engines/maintain.py and `Engine.scratch` promise, on every database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ledger.engines.base import Engine, Target
from ledger.errors import FencedError, LockedError, TenantError
from ledger.schema import fingerprint
from tests.engines.adapters import Adapter, make_adapter
from tests.engines.work import LEDGER

MAKE = (
    "CREATE TABLE owners (id INTEGER PRIMARY KEY)",
    "CREATE TABLE items (id INTEGER, part INTEGER, at BIGINT, owner INTEGER,"
    " PRIMARY KEY (id, part), FOREIGN KEY (owner) REFERENCES owners (id))",
    "INSERT INTO owners VALUES (1)",
    "INSERT INTO items VALUES (1, 1, 1000000000, 1), (1, 2, 1000000000000, 1), (2, 1, NULL, NULL)",
    "INSERT INTO items VALUES (3, 1, 4000000000, 1), (3, 2, 4000000000000, 1)",
)
BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
ROWS = "SELECT id, part FROM items ORDER BY id, part"


@pytest.fixture
def target(adapter: Adapter) -> Target:
    """A tenant with owners and items; times are in seconds and in milliseconds."""
    target = adapter.target()
    adapter.run(target, *MAKE)
    return target


async def test_old_rows_come_by_key_from_after_the_last(engine: Engine, target: Target) -> None:
    """Seconds and milliseconds count alike, NULL is not old, and a row's line is the same each time."""
    async with engine.open(target) as session:
        maintenance = session.maintenance()
        what = await maintenance.archivable("items", "at")
        assert (what.key, what.columns) == (("id", "part"), ("id", "part", "at", "owner"))
        assert (await maintenance.old(what, before=BEFORE)).rows == 2
        lines = await maintenance.lines(what, before=BEFORE, after=None, limit=10)
        assert lines[0] == b'{"id":1,"part":1,"at":1000000000,"owner":1}'
        assert await maintenance.lines(what, before=BEFORE, after=lines[0], limit=10) == lines[1:]
        assert await maintenance.lines(what, before=BEFORE, after=lines[1], limit=10) == []


async def test_remove_deletes_only_rows_that_equal_their_line(
    adapter: Adapter, engine: Engine, target: Target
) -> None:
    """What changed stays and is counted; what is gone already is neither; it may be repeated."""
    async with engine.open(target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        maintenance = session.maintenance()
        what = await maintenance.archivable("items", "at")
        lines = await maintenance.lines(what, before=BEFORE, after=None, limit=10)
        adapter.run(target, "UPDATE items SET owner = NULL WHERE part = 2 AND id = 1")
        assert await maintenance.remove(what, lines, epoch=1, ledger=LEDGER) == (1, 1)
        assert await maintenance.remove(what, lines, epoch=1, ledger=LEDGER) == (0, 1)
    assert adapter.rows(target, ROWS) == [(1, 2), (2, 1), (3, 1), (3, 2)]


async def test_a_row_that_is_referred_to_stays(
    adapter: Adapter, engine: Engine, target: Target
) -> None:
    """Also if the reference came after the line was read."""
    adapter.run(target, "INSERT INTO owners VALUES (2), (3)")
    async with engine.open(target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        maintenance = session.maintenance()
        what = await maintenance.archivable("owners", "id")
        assert [one.table for one in what.referred] == ["items"]
        found = await maintenance.old(what, before=BEFORE)
        assert (found.rows, found.held) == (2, 1)
        lines = await maintenance.lines(what, before=BEFORE, after=None, limit=10)
        assert lines == [b'{"id":2}', b'{"id":3}']
        adapter.run(target, "UPDATE items SET owner = 3 WHERE id = 2")
        assert await maintenance.remove(what, lines, epoch=1, ledger=LEDGER) == (1, 1)
    assert adapter.rows(target, "SELECT id FROM owners ORDER BY id") == [(1,), (3,)]


async def test_a_fenced_runner_changes_nothing(
    adapter: Adapter, engine: Engine, target: Target
) -> None:
    """Once a newer claim has passed, neither orphans nor old rows are touched, and no table is optimised."""
    async with engine.open(target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        maintenance = session.maintenance()
        what = await maintenance.archivable("items", "at")
        lines = await maintenance.lines(what, before=BEFORE, after=None, limit=10)
        (reference,) = await maintenance.references()
    async with engine.open(target) as newer:
        await newer.fence(epoch=2, ledger=LEDGER)
    async with engine.open(target) as session:
        maintenance = session.maintenance()
        with pytest.raises(FencedError):
            await maintenance.remove(what, lines, epoch=1, ledger=LEDGER)
        with pytest.raises(FencedError):
            await maintenance.mend(reference, limit=1, epoch=1, ledger=LEDGER)
        with pytest.raises(FencedError):
            await maintenance.optimize(epoch=1, ledger=LEDGER, deadline_seconds=60)
        with pytest.raises(TenantError, match="another ledger"):
            await maintenance.remove(what, lines, epoch=2, ledger="f" * 32)
    assert len(adapter.rows(target, ROWS)) == 5


async def test_optimize_leaves_the_schema_as_it_was(
    adapter: Adapter, engine: Engine, target: Target
) -> None:
    """Statistics are nothing of the tenant's own."""
    async with engine.open(target) as session:
        before = fingerprint(await session.schema())
        await session.fence(epoch=1, ledger=LEDGER)
        tables, _ = await session.maintenance().optimize(
            epoch=1, ledger=LEDGER, deadline_seconds=60
        )
        assert sorted(tables) == ["items", "owners"]
        assert fingerprint(await session.schema()) == before
    assert len(adapter.rows(target, ROWS)) == 5


async def test_a_scratch_place_is_empty_apart_and_gone_afterwards(
    adapter: Adapter, engine: Engine, target: Target, tmp_path: Path
) -> None:
    """A backup restored there is the tenant; what happens there does not reach it."""
    suffix = adapter.backup_suffix
    async with engine.open(target) as session:
        made = await session.backup(tmp_path / f"copy{suffix}", deadline_seconds=60)
        before = await session.schema()
    folder = tmp_path / "scratch"
    folder.mkdir()
    async with engine.scratch(target, folder) as scratch:
        assert scratch.target.url != target.url
        place = msgspec.structs.replace(scratch.target, for_restore=True)
        async with engine.open(place) as session:
            await session.restore(
                made.path, sha256=made.sha256, epoch=1, ledger=LEDGER, deadline_seconds=60
            )
            assert await session.schema() == before
    assert list(folder.iterdir()) == []
    assert len(adapter.rows(target, ROWS)) == 5
    async with engine.scratch(target, folder) as again:
        assert again.target.url == scratch.target.url


@pytest.mark.parametrize("name", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
async def test_a_scratch_database_is_one_rehearsals_at_a_time(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A second one is refused, and the first one keeps its database."""
    adapter = make_adapter(name, request, tmp_path)
    engine, target = adapter.engine(), adapter.target()
    async with engine.scratch(target, tmp_path) as scratch:
        with pytest.raises(LockedError):
            async with engine.scratch(target, tmp_path):
                pass
        async with engine.open(scratch.target) as session:
            assert (await session.marker()).entries == ()
    await engine.aclose()
