"""The contract of what only looks: probe, explain, and the sizes around a migration."""

from __future__ import annotations

import msgspec
import pytest

from ledger.drivers.url import MysqlUrl, SqliteUrl
from ledger.engines.base import Engine, Target
from ledger.engines.probes import Probe, Probed
from ledger.errors import UnreachableError
from tests.engines.adapters import Adapter
from tests.engines.work import LEDGER, Journal, work

ITEMS = "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40))"


def not_ok(found: Probed) -> list[Probe]:
    """What is not fine; a test server may do without syncs, and is told so."""
    return [one for one in found.probes if one.level != "ok" and one.check != "durability"]


async def test_a_sound_tenant_has_nothing_that_failed(
    engine: Engine, target: Target, adapter: Adapter
) -> None:
    """Before its first migration and after it: no failed probe, and the marker as it is."""
    found = await engine.probe(target, quick=False)
    assert not_ok(found) == []
    assert (found.applied, found.ledger, found.epoch) == (frozenset(), "", 0)
    assert adapter.rows(target, "SELECT 1") == [(1,)] and adapter.tables(target) == set()
    async with engine.open(target) as session:
        await session.apply(work(ITEMS), Journal())
    found = await engine.probe(target, quick=True)
    assert not_ok(found) == []
    assert (found.applied, found.ledger, found.epoch) == (frozenset({"app/1"}), LEDGER, 1)


async def test_looking_takes_no_claim_from_a_runner(engine: Engine, target: Target) -> None:
    """A tenant that another session works on can be looked at, and the fence stays."""
    async with engine.open(target) as session:
        await session.fence(epoch=3, ledger=LEDGER)
        found = await engine.probe(target, quick=False)
        assert found.epoch == 3
        await session.apply(work(ITEMS, epoch=3), Journal())


async def test_configured_statements_are_not_run(engine: Engine, target: Target) -> None:
    """A `session` statement may change a tenant, or fail: doctor runs none."""
    target = msgspec.structs.replace(target, session=("THIS IS NO SQL",))
    assert not_ok(await engine.probe(target, quick=True)) == []


async def test_a_tenant_that_is_not_there_is_not_made(engine: Engine, target: Target) -> None:
    """Unreachable, although the target says `create`."""
    url = target.url
    if isinstance(url, SqliteUrl):
        gone = msgspec.structs.replace(target, url=SqliteUrl(path=url.path + ".gone"), create=True)
    else:
        assert isinstance(url, MysqlUrl)
        other = msgspec.structs.replace(url, database=f"{url.database}_gone")
        gone = msgspec.structs.replace(target, url=other, create=True)
    for _ in range(2):
        with pytest.raises(UnreachableError) as caught:
            await engine.probe(gone, quick=True)
        assert caught.value.tenant == target.name


async def test_plans_are_told_and_nothing_runs(
    engine: Engine, target: Target, adapter: Adapter
) -> None:
    """A plan a query, in order; what cannot be explained says why, and the others are explained all the same."""
    adapter.run(target, ITEMS, "INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    queries = [
        "SELECT * FROM items WHERE name = 'a'",
        "SELECT * FROM nowhere",
        "SELECT * FROM items WHERE id = 2",
    ]
    async with engine.open(target) as session:
        scan, nowhere, search = await session.explain(queries)
        assert await session.explain(queries) == (scan, nowhere, search)
        assert scan.lines and search.lines and scan.lines != search.lines
        assert nowhere.lines == () and "nowhere" in nowhere.error
        assert await session.explain([]) == ()
        # The session is as usable as before, and may write.
        await session.apply(work("DELETE FROM items WHERE id = 3"), Journal())
    assert adapter.rows(target, "SELECT id FROM items ORDER BY id") == [(1,), (2,)]


async def test_the_size_before_is_the_size_after_the_one_before(
    engine: Engine, target: Target, adapter: Adapter
) -> None:
    """An empty tenant begins with a page at most; each migration begins where the last one ended.

    One that is found applied says what its first attempt has measured.
    """
    async with engine.open(target) as session:
        first = await session.apply(work(ITEMS), Journal())
        again = await session.apply(work(ITEMS, expected=["app/1"]), Journal())
        second = await session.apply(
            work("CREATE TABLE more (id INTEGER PRIMARY KEY)", version="2", expected=["app/1"]),
            Journal(),
        )
    assert first.bytes_before is not None and first.bytes_before <= 4096
    assert first.mark.bytes is not None and second.bytes_before == first.mark.bytes > 0
    assert second.mark.bytes is not None and second.mark.bytes > second.bytes_before
    assert again.bytes_before == first.bytes_before
