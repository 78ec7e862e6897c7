"""The contract of wishes and scratch schemas, on every database alike."""

from __future__ import annotations

import pytest

from ledger.engines.base import Engine, Target
from ledger.errors import StepFailedError
from ledger.schema import Schema
from tests.engines.adapters import Adapter
from tests.engines.work import step

ITEMS = "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40) DEFAULT 'x')"
INDEX = "CREATE INDEX items_name ON items (name)"


async def test_a_plan_holds_what_is_missing_and_changes_nothing(
    adapter: Adapter, engine: Engine, target: Target
) -> None:
    """An empty tenant lacks all of it; one with the table its column and index; the tenant is only read."""
    wish = (step(1, ITEMS), step(2, INDEX))
    async with engine.open(target) as session:
        plan = await session.plan_sync(wish)
        assert [one.sql for one in plan.steps] == [ITEMS, INDEX]
        assert [one.number for one in plan.steps] == [1, 2]
        assert adapter.tables(target) == set()
        adapter.run(target, "CREATE TABLE items (id INTEGER PRIMARY KEY, more INT)")
        plan = await session.plan_sync(wish)
        assert [one.name for one in plan.steps] == [
            "Sync: add column items.name",
            plan.steps[1].name,
        ]
        assert plan.drift == ()
        adapter.run(target, *(one.sql for one in plan.steps))
        assert await session.plan_sync(wish) == type(plan)()


async def test_a_refused_wish_names_its_statement(engine: Engine, target: Target) -> None:
    """StepFailedError with the step's number, before anything runs in the tenant."""
    async with engine.open(target) as session:
        with pytest.raises(StepFailedError) as failed:
            await session.plan_sync((step(1, ITEMS), step(2, "CREATE INDEX i ON nowhere (a)")))
    assert failed.value.step == 2


async def test_a_scratch_schema_is_what_the_tenant_would_have(
    adapter: Adapter, engine: Engine, target: Target
) -> None:
    """The same statements in the tenant give the same schema; until then it stays empty."""
    statements = (ITEMS, INDEX, "CREATE VIEW names AS SELECT name FROM items")
    async with engine.open(target) as session:
        found = await session.scratch_schema([step(n, one) for n, one in enumerate(statements, 1)])
        assert await session.schema() == Schema()
        adapter.run(target, *statements)
        assert await session.schema() == found
