"""What all tenants of one run share."""

from __future__ import annotations

from pathlib import Path

from ledger.drivers.url import SqliteUrl
from ledger.projections import FleetState
from ledger.runner.context import RunContext, Settings
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source
from ledger.stores import open_store


class Silent:
    """Nobody is told."""

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str) -> None: ...

    def note(self, name: str, text: str) -> None: ...


async def test_a_migration_is_never_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    """A rollback parses one after the other, and each new object may get the id of one before."""
    url = SqliteUrl(path=str(tmp_path / "ledger.db"))
    async with open_store(url, create=True) as store:
        ctx = RunContext(
            store=store,
            ledger_id=store.ledger_id,
            fleet=FleetState(),
            settings=Settings(backups=tmp_path),
            command="rollback",
            run="a run",
            actor="tester",
            watcher=Silent(),
        )
        for number in range(100):
            source = read_source(
                f"DROP TABLE {{prefix}}t{number};".encode(), file=f"{number:03}_x.sql"
            )
            parsed = parse_migration(source, "sqlite", set_name="s")
            assert ctx.bound(parsed, {"prefix": "p_"}).ref == parsed.ref
            del parsed
