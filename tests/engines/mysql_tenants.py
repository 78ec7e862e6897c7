"""Tenants of MySQL and MariaDB for the tests that are about these engines alone."""

from __future__ import annotations

from typing import Any

from ledger.engines.base import Target
from tests.programs import wait_for
from tests.servers import Rows, Server, queries, query, statements

ITEMS = "CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(40)) ENGINE=InnoDB"
FILL = "INSERT INTO items (id, name) VALUES (1, 'one'), (2, 'two')"


class Tenant:
    """One database, or one prefix in one, on a real server."""

    def __init__(self, server: Server, database: str, *, prefix: str = "", **more: Any) -> None:
        self.server = server
        self.database = database
        self.target = Target(
            name=f"{database}{prefix}",
            engine="mysql",
            url=server.url_for(database),
            secret=server.secret,
            prefix=prefix,
            source="ledger.toml",
            **more,
        )

    def run(self, *statements: str) -> Rows:
        """Behind the engine's back."""
        return queries(self.server, statements, database=self.database)

    def rows(self, sql: str) -> Rows:
        """Past the engine."""
        return query(self.server, sql, database=self.database)

    def tables(self) -> set[str]:
        """Markers apart."""
        names = {str(row[0]) for row in self.rows("SHOW TABLES")}
        return {name for name in names if not name.endswith("ledger_marker")}


def wait_for_statement(tenant: Tenant, start: str) -> int:
    """The connection to the tenant's database that runs a statement that begins so, once it does."""
    found: list[int] = []

    def runs() -> bool:
        found[:] = statements(tenant.server, (tenant.database,), start)
        return bool(found)

    wait_for(runs, start)
    return found[0]
