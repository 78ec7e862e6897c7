"""What all tenants of one run share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.drivers.url import SqliteUrl
from ledger.errors import FencedError
from ledger.events import LockCleared, Validated
from ledger.projections import FleetState
from ledger.runner.claim import claim
from ledger.runner.context import RunContext, Settings
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source
from ledger.stores import open_store
from ledger.stores.base import Filter
from ledger.stores.store import Store


class Silent:
    """Nobody is told."""

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str) -> None: ...

    def note(self, name: str, text: str) -> None: ...

    def backed_up(self, name: str, path: str) -> None: ...


def context(store: Store, folder: Path, run: str) -> RunContext:
    """A run of its own over the store."""
    return RunContext(
        store=store,
        ledger_id=store.ledger_id,
        fleet=FleetState(),
        settings=Settings(backups=folder),
        command="migrate",
        run=run,
        actor="tester",
        watcher=Silent(),
    )


async def test_who_lost_a_claim_never_appends_behind_his_successor(tmp_path: Path) -> None:
    """Not even when asked again, knowing by then how far the stream has come."""
    url = SqliteUrl(path=str(tmp_path / "ledger.db"))
    async with open_store(url, create=True) as store:
        one, two = context(store, tmp_path, "one"), context(store, tmp_path, "two")
        await claim(one, "t", engine="sqlite", migration=None)
        await two.refresh("t")
        await two.record_last("t", [LockCleared(epoch=1, reason="a person said so")])
        for _ in range(2):
            with pytest.raises(FencedError):
                await one.record_claimed("t", [Validated(passed=True)])
        rows = [row async for page in store.read(Filter(stream="tenant/t")) for row in page]
        assert [row.type for row in rows] == ["started", "lock_cleared"]


async def test_a_migration_is_never_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    """A rollback parses one after the other, and each new object may get the id of one before."""
    url = SqliteUrl(path=str(tmp_path / "ledger.db"))
    async with open_store(url, create=True) as store:
        ctx = context(store, tmp_path, "a run")
        for number in range(100):
            source = read_source(
                f"DROP TABLE {{prefix}}t{number};".encode(), file=f"{number:03}_x.sql"
            )
            parsed = parse_migration(source, "sqlite", set_name="s")
            assert ctx.bound(parsed, {"prefix": "p_"}).ref == parsed.ref
            del parsed
