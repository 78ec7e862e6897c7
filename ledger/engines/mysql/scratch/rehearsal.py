"""A scratch database to rehearse a tenant's migrations in.

Invariant: the tenant's own database is only read; the scratch database has one name
per tenant, is held by a lock while it is used, and is dropped before and after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from ledger.drivers import mysql
from ledger.drivers.mysql import NO_DEADLINE, MysqlConnection, quote_identifier
from ledger.drivers.url import MysqlUrl
from ledger.engines.base import Scratch, Target
from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.trouble import translated
from ledger.errors import LockedError

PREFIX: Final = "ledger_rehearse_"
DROP_SECONDS: Final = 60.0

LOCK_SECONDS: Final = 15
"""The server frees a killed rehearsal's lock once it notices that the connection is gone."""

GET_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
SCHEMATA: Final = """
SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME
FROM information_schema.SCHEMATA
"""
SHARED_TABLE: Final = """
SELECT 1 FROM information_schema.TABLES
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
PLAIN_COLUMNS: Final = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
  AND EXTRA NOT LIKE '%%VIRTUAL GENERATED%%' AND EXTRA NOT LIKE '%%STORED GENERATED%%'
ORDER BY ORDINAL_POSITION
"""
OF_THE_SERVER: Final = frozenset({"information_schema", "mysql", "performance_schema", "sys"})


@asynccontextmanager
async def scratch(target: Target, *, connect_seconds: float) -> AsyncIterator[Scratch]:
    url = target.url
    if not isinstance(url, MysqlUrl):
        raise TypeError(f"the MySQL engine cannot open {url}")
    source = url.database or ""
    name = PREFIX + lock_name(source, target.prefix)[7:31]
    with translated(target, "make a scratch database"):
        async with mysql.connect(
            url, target.secret, database="", connect_seconds=connect_seconds
        ) as server:
            taken = await server.fetch(GET_LOCK, (name, LOCK_SECONDS), seconds=LOCK_SECONDS + 10)
            if taken[0][0] != 1:
                raise LockedError(
                    f"another rehearsal of it has been under way for {LOCK_SECONDS} s",
                    hint=f"Wait for it to end; it holds the lock {name}.",
                    tenant=target.name,
                )
            known = {str(row[0]): row for row in await server.fetch(SCHEMATA)}
            try:
                await _make(server, name, known.get(source))
                if target.prefix:
                    await _copy_shared(server, target, source, name)
                others = {source, *known} - {name} - OF_THE_SERVER
                yield Scratch(
                    target=msgspec.structs.replace(
                        target,
                        url=msgspec.structs.replace(url, database=name),
                        neighbours=(),
                        create=False,
                    ),
                    elsewhere=tuple(sorted(name for name in others if name)),
                )
            finally:
                with anyio.move_on_after(DROP_SECONDS, shield=True):
                    await _drop(server, target, url, name)


async def _make(server: MysqlConnection, name: str, like: tuple[object, ...] | None) -> None:
    """An empty database with the tenant's defaults."""
    quoted = quote_identifier(name)
    defaults = f" CHARACTER SET {like[1]} COLLATE {like[2]}" if like is not None else ""
    await server.execute(f"DROP DATABASE IF EXISTS {quoted}")
    await server.execute(f"CREATE DATABASE {quoted}{defaults}")


async def _drop(server: MysqlConnection, target: Target, url: MysqlUrl, name: str) -> None:
    """On a connection of its own if the first was lost or is closed by a cancellation."""
    sql = f"DROP DATABASE IF EXISTS {quote_identifier(name)}"
    if not server.closed:
        await server.execute(sql, seconds=DROP_SECONDS)
        return
    async with mysql.connect(url, target.secret, database="") as other:
        await other.execute(sql)


async def _copy_shared(server: MysqlConnection, target: Target, source: str, name: str) -> None:
    """Tables that the tenant's variables name and that are not its own (WordPress' users), with their rows."""
    # The rows are as some mode let them in: an id 0, a date without a day.
    await server.execute("SET SESSION foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
    for value in sorted(
        {value for key, value in target.variables.items() if key != "prefix" and value}
    ):
        if value.startswith(target.prefix) or not await server.fetch(SHARED_TABLE, (source, value)):
            continue
        here = f"{quote_identifier(source)}.{quote_identifier(value)}"
        there = f"{quote_identifier(name)}.{quote_identifier(value)}"
        rows = await server.fetch(PLAIN_COLUMNS, (source, value))
        columns = ", ".join(quote_identifier(str(row[0])) for row in rows)
        await server.execute(f"CREATE TABLE {there} LIKE {here}")
        await server.execute(
            f"INSERT INTO {there} ({columns}) SELECT {columns} FROM {here}",  # noqa: S608
            seconds=NO_DEADLINE,
        )
