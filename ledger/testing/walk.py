"""Every migration up, down and up again, with the schemas compared in between."""

from __future__ import annotations

import msgspec

from ledger.api import Ledger
from ledger.calls.opened import opened
from ledger.calls.tenants import choose_tenants
from ledger.config import Config
from ledger.drift import compare
from ledger.fleet.report import RunReport
from ledger.schema import Schema
from ledger.scripts.model import Migration


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """SET/VERSION of the migrations that went up, down and up; and of those that have no way down."""

    both_ways: tuple[str, ...]
    only_up: tuple[str, ...]


async def walk(config: Config, tenant: str, *, require_down: bool) -> Walked:
    both_ways: list[str] = []
    only_up: list[str] = []
    async with Ledger.open(config, actor="test") as ledger:
        for migration in await _migrations(config):
            await _go(ledger, migration, require_down=require_down)
            (both_ways if migration.undoes else only_up).append(migration.id)
    return Walked(both_ways=tuple(both_ways), only_up=tuple(only_up))


async def _migrations(config: Config) -> tuple[Migration, ...]:
    async with opened(config, create=True) as ready:
        chosen = await choose_tenants(config, ready.engines, ["*"])
        return chosen.catalogues[chosen.targets[0].name].order


async def read_schema(config: Config) -> Schema:
    """The schema of the configuration's one tenant."""
    async with opened(config, create=True) as ready:
        target = (await choose_tenants(config, ready.engines, ["*"])).targets[0]
        async with ready.engines[target.engine].open(target) as session:
            return await session.schema()


async def _go(ledger: Ledger, migration: Migration, *, require_down: bool) -> None:
    config = ledger.config
    before = await read_schema(config)
    _require(await ledger.migrate(to=migration.id), migration, "up")
    after = await read_schema(config)
    if not migration.undoes:
        if require_down:
            raise AssertionError(f"{migration.id} has no down section")
        return
    undone = await ledger.rollback(migration=migration.id, by="script")
    _require(undone, migration, "down")
    _require_equal(before, await read_schema(config), migration, "down leaves a difference")
    _require(await ledger.migrate(to=migration.id), migration, "up again")
    _require_equal(after, await read_schema(config), migration, "up again makes a difference")


def _require(report: RunReport, migration: Migration, what: str) -> None:
    if not report.success:
        why = "; ".join(report.errors.values())
        raise AssertionError(f"{migration.id}, {what}: {why}")


def _require_equal(expected: Schema, found: Schema, migration: Migration, what: str) -> None:
    if changes := compare(expected, found):
        lines = [f"  {change.kind} {change.name} {change.how}" for change in changes]
        raise AssertionError("\n".join([f"{migration.id}: {what}:", *lines]))
