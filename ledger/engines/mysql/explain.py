"""EXPLAIN as lines that compare: access type, key and extra of each table; estimates of rows are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.measured import Plan
from ledger.engines.mysql.apply.guards import READ_ONLY

MARIADB: Final = "EXPLAIN "
MYSQL: Final = "EXPLAIN FORMAT=TRADITIONAL "


async def explain(connection: MysqlConnection, queries: Sequence[str]) -> tuple[Plan, ...]:
    """Every query's plan, asked in a transaction that cannot write."""
    await connection.execute(READ_ONLY)
    try:
        return tuple([await _one(connection, sql) for sql in queries])
    finally:
        if not connection.closed:
            await connection.rollback()


async def _one(connection: MysqlConnection, sql: str) -> Plan:
    command = MARIADB if connection.server.flavor == "mariadb" else MYSQL
    try:
        rows = await connection.fetch_dicts(command + sql)
    except QueryError as error:
        return Plan(error=str(error))
    return Plan(
        lines=tuple(_line({key.lower(): value for key, value in row.items()}) for row in rows)
    )


def _line(row: dict[str, Any]) -> str:
    """`users: ref KEY idx_name (Using where)`; `users: ALL, no key`."""
    words = [f"{row['table']}:" if row["table"] else f"{row['select_type']}:"]
    if row["type"]:
        words.append(f"{row['type']} KEY {row['key']}" if row["key"] else f"{row['type']}, no key")
    if row["extra"]:
        words.append(f"({row['extra']})")
    return " ".join(words)
