"""An engine and tenants of MySQL and MariaDB for the tests that are about these alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ledger.engines.mysql.engine import MysqlEngine
from tests.conftest import MakeDatabase
from tests.engines.mysql_tenants import Tenant
from tests.servers import Server


@pytest.fixture
async def engine() -> AsyncIterator[MysqlEngine]:
    """An engine."""
    made = MysqlEngine()
    yield made
    await made.aclose()


@pytest.fixture
def tenant(sql_server: Server, make_database: MakeDatabase) -> Tenant:
    """An empty database on each server in turn."""
    return Tenant(sql_server, make_database(sql_server))


@pytest.fixture
def on_mariadb(mariadb: Server, make_database: MakeDatabase) -> Tenant:
    """An empty database on MariaDB, for what MySQL does not have."""
    return Tenant(mariadb, make_database(mariadb))
