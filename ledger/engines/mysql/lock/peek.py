"""Which tenants changed since the last run, asked of a whole server at once.

Invariant: only markers are read, and nothing is locked or written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.drivers.url import MysqlUrl
from ledger.engines.base import Seen, Target
from ledger.engines.mysql.lock.marker import marker_name, owner_of
from ledger.engines.mysql.trouble import NO_SUCH_TABLE

CHUNK: Final = 1000
"""Markers a query; each is one part of a UNION ALL."""

NO_SUCH_DATABASE: Final = 1049

APPLIED: Final = (
    "SELECT {number}, COUNT(*), COALESCE(BIT_XOR(CRC32(id)), 0)"
    " FROM {marker} WHERE state = 'applied' AND id <> ''"
)
FENCE: Final = "SELECT {number}, ref FROM {marker} WHERE id = ''"
EXISTING: Final = """
SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_NAME LIKE '%ledger\\_marker'
"""


async def different(connection: MysqlConnection, seen: Sequence[Seen]) -> set[str]:
    """Names of the tenants whose marker does not call applied what the ledger does.

    One query for each thousand tenants; one more if a marker or its database is gone.
    """
    changed: set[str] = set()
    for start in range(0, len(seen), CHUNK):
        chunk = seen[start : start + CHUNK]
        try:
            changed |= await _compare(connection, chunk)
        except QueryError as error:
            if error.code not in (NO_SUCH_TABLE, NO_SUCH_DATABASE):
                raise
            rows = await connection.fetch(EXISTING)
            there = {(str(row[0]), str(row[1])) for row in rows}
            present = [tenant for tenant in chunk if _place(tenant.target) in there]
            changed |= {
                tenant.target.name for tenant in chunk if _place(tenant.target) not in there
            }
            changed |= await _compare(connection, present)
    return changed


async def _compare(connection: MysqlConnection, seen: Sequence[Seen]) -> set[str]:
    if not seen:
        return set()
    parts = []
    for number, tenant in enumerate(seen):
        marker = _quoted(tenant.target)
        parts.append(APPLIED.replace("{number}", str(number)).replace("{marker}", marker))
    rows = await connection.fetch(" UNION ALL ".join(parts))
    return {
        seen[int(number)].target.name
        for number, count, sums in rows
        if (int(count), int(sums)) != _expected(seen[int(number)].applied)
    }


async def owners(connection: MysqlConnection, targets: Sequence[Target]) -> dict[str, str]:
    """The ids of the ledgers that the markers name, by tenant: a query for each thousand tenants, and one
    for which markers there are. Raises DriverError.
    """
    there = {(str(row[0]), str(row[1])) for row in await connection.fetch(EXISTING)}
    marked = [target for target in targets if _place(target) in there]
    found: dict[str, str] = {}
    for start in range(0, len(marked), CHUNK):
        chunk = marked[start : start + CHUNK]
        parts = [
            FENCE.replace("{number}", str(number)).replace("{marker}", _quoted(target))
            for number, target in enumerate(chunk)
        ]
        for number, ref in await connection.fetch(" UNION ALL ".join(parts)):
            if owner := owner_of(str(ref)):
                found[chunk[int(number)].name] = owner
    return found


def _quoted(target: Target) -> str:
    database, table = _place(target)
    return f"{quote_identifier(database)}.{quote_identifier(table)}"


def _expected(applied: Iterable[str]) -> tuple[int, int]:
    """Count and XOR of CRC-32s: what the server computes of equal ids."""
    count, sums = 0, 0
    for migration in applied:
        count += 1
        sums ^= zlib.crc32(migration.encode())
    return count, sums


def _place(target: Target) -> tuple[str, str]:
    assert isinstance(target.url, MysqlUrl)  # noqa: S101 - the engine's own targets
    return target.url.database or "", marker_name(target)
