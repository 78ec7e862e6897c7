"""Connections of MySQL and MariaDB that go on from one tenant to the next."""

from __future__ import annotations

import json

import pytest

from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import StepFailedError, UnreachableError
from tests.conftest import MakeDatabase
from tests.engines.mysql_tenants import Tenant
from tests.engines.work import Journal, check, work
from tests.servers import Server


@pytest.fixture
def tenants(sql_server: Server, make_database: MakeDatabase) -> tuple[Tenant, Tenant]:
    """Two empty databases of one server."""
    return Tenant(sql_server, make_database(sql_server)), Tenant(
        sql_server, make_database(sql_server)
    )


def worked_on_by(tenant: Tenant) -> int:
    """The connection that set the tenant's fence."""
    ((ref,),) = tenant.rows("SELECT ref FROM ledger_marker WHERE id = ''")
    number: int = json.loads(str(ref))["connection_id"]
    return number


async def test_nothing_of_one_tenant_is_left_for_the_next(
    engine: MysqlEngine, tenants: tuple[Tenant, Tenant]
) -> None:
    """The same connection, and no variable, setting, temporary table or lock of the one before."""
    first, second = tenants
    first.run(
        "CREATE PROCEDURE leave_things() BEGIN SET @left = 1; SET SESSION group_concat_max_len = 77;"
        " SET autocommit = 1; CREATE TEMPORARY TABLE scrap (id INT); END"
    )
    async with engine.open(first.target) as session:
        await session.apply(work("CALL leave_things()"), Journal())
    connection = worked_on_by(first)
    async with engine.open(second.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
        found = await session.check(
            [
                check("SELECT @left IS NULL", "variable"),
                check("SELECT @@group_concat_max_len <> 77", "setting"),
                check(f"SELECT DATABASE() = '{second.database}'", "database"),
                check(f"SELECT @@collation_connection = '{second.server.collation}'", "names"),
                check("SELECT count(*) >= 0 FROM scrap", "temporary table"),
            ]
        )
    assert worked_on_by(second) == connection
    assert [one.passed for one in found] == [True, True, True, True, False]


async def test_the_lock_is_free_once_the_tenant_is_left(
    engine: MysqlEngine, tenants: tuple[Tenant, Tenant]
) -> None:
    """Another process takes the tenant at once, and its connection is not ended for it."""
    first, second = tenants
    async with engine.open(first.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
    connection = worked_on_by(first)
    other = MysqlEngine()
    async with other.open(first.target) as session:
        await session.fence(epoch=2, ledger="ledger-of-the-test")
    await other.aclose()
    async with engine.open(second.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
    assert worked_on_by(second) == connection


async def test_a_connection_that_was_ended_meanwhile_is_not_missed(
    engine: MysqlEngine, tenants: tuple[Tenant, Tenant]
) -> None:
    """The next tenant gets a new one."""
    first, second = tenants
    async with engine.open(first.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
    first.run(f"KILL {worked_on_by(first)}")
    async with engine.open(second.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
    assert worked_on_by(second) != worked_on_by(first)


async def test_a_failed_tenant_leaves_no_connection(
    engine: MysqlEngine, tenants: tuple[Tenant, Tenant]
) -> None:
    """Whatever a migration that failed did to its connection ends with it."""
    first, second = tenants
    async with engine.open(first.target) as session:
        with pytest.raises(StepFailedError):
            await session.apply(work("CREATE TABLE one (nonsense)"), Journal())
    async with engine.open(second.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
    assert worked_on_by(second) != worked_on_by(first)


async def test_a_database_that_is_gone_is_said_as_ever(
    engine: MysqlEngine, tenants: tuple[Tenant, Tenant]
) -> None:
    """A kept connection that cannot change over names the tenant's trouble, and is not its own."""
    first, second = tenants
    async with engine.open(first.target) as session:
        await session.apply(work("CREATE TABLE one (id INT)"), Journal())
    second.run(f"DROP DATABASE `{second.database}`")
    with pytest.raises(UnreachableError, match="Unknown database"):
        async with engine.open(second.target):
            pass
