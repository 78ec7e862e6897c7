"""Questions to a tenant: a step's guard, and a migration's checks. They read, and cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.dialects.steps import Check, SkipIf
from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.base import Target
from ledger.engines.checks import is_true
from ledger.events import CheckResult

COLUMN: Final = """
SELECT 1 FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND COLUMN_NAME = %s LIMIT 1
"""
TABLE: Final = """
SELECT 1 FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND TABLE_TYPE <> 'VIEW' LIMIT 1
"""
VIEW: Final = """
SELECT 1 FROM information_schema.VIEWS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s LIMIT 1
"""
INDEX: Final = """
SELECT DISTINCT TABLE_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME = %s
"""
READ_ONLY: Final = "START TRANSACTION READ ONLY"


async def skip_reason(connection: MysqlConnection, guard: SkipIf, target: Target) -> str:
    """Why the step is to be skipped, or nothing. Raises QueryError for a guard that cannot run.

    An index may be named with its table (`T.I`); without it any of the tenant's
    tables will do.
    """
    if guard.kind == "not_made":
        return guard.text
    if guard.kind == "sql":
        value = await first_value(connection, guard.subject)
        return f"{guard.text or guard.subject} is true" if is_true(value) else ""
    owner, name = guard.parts
    if guard.kind == "column":
        rows = await connection.fetch(COLUMN, (owner, name))
    elif guard.kind == "table":
        rows = await connection.fetch(TABLE, (name,))
    elif guard.kind == "view":
        rows = await connection.fetch(VIEW, (name,))
    else:
        rows = [
            row
            for row in await connection.fetch(INDEX, (name,))
            if (row[0] == owner if owner else str(row[0]).startswith(target.prefix))
        ]
    return f"{guard.kind} {guard.subject} exists" if rows else ""


async def first_value(connection: MysqlConnection, sql: str) -> object:
    """The first column of the first row, read in a transaction that cannot write; None without a row."""
    if connection.in_transaction:
        rows = await connection.fetch(sql)
        return rows[0][0] if rows else None
    await connection.execute(READ_ONLY)
    try:
        rows = await connection.fetch(sql)
    finally:
        if not connection.closed:
            await connection.rollback()
    return rows[0][0] if rows else None


async def run_checks(
    connection: MysqlConnection, checks: Sequence[Check], *, seconds: float | None = None
) -> tuple[CheckResult, ...]:
    """All checks in one read-only snapshot; one that cannot run has not passed, with the reason."""
    if not checks:
        return ()
    results = []
    await connection.execute(READ_ONLY)
    try:
        for check in checks:
            try:
                rows = await connection.fetch(check.sql, seconds=seconds)
            except QueryError as error:
                results.append(CheckResult(name=check.name, passed=False, detail=str(error)))
                continue
            value = rows[0][0] if rows else None
            passed = is_true(value)
            detail = "" if passed else f"returned {value!r}" if rows else "returned no row"
            results.append(CheckResult(name=check.name, passed=passed, detail=detail))
    finally:
        if not connection.closed:
            await connection.rollback()
    return tuple(results)
