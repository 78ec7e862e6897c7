"""Dropping a tenant's own objects for `reset --drop-all`.

No transaction spans DROP statements here: the marker says `resetting` from before
the first until it is empty, so that a reset that was killed is noticed, and is
simply repeated. Invariant: nothing is dropped while a table outside the list
refers to one in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ledger import failpoints
from ledger.drivers.mysql import NO_DEADLINE, MysqlConnection, quote_identifier
from ledger.engines.entries import fenced
from ledger.engines.mysql.lock.fence import with_restoring
from ledger.engines.mysql.opened import Opened
from ledger.errors import TenantError
from ledger.scripts.created import Owned

REFERENCES: Final = """
SELECT CONSTRAINT_SCHEMA, TABLE_NAME, REFERENCED_TABLE_NAME
FROM information_schema.REFERENTIAL_CONSTRAINTS
WHERE UNIQUE_CONSTRAINT_SCHEMA = DATABASE()
"""
INDEX_OF: Final = """
SELECT DISTINCT TABLE_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND INDEX_NAME = %s
"""


async def drop(opened: Opened, objects: Sequence[Owned], *, epoch: int, ledger: str) -> None:
    """Drop them in this order, and empty the marker; the fence stands at `epoch` already."""
    connection = opened.connection
    found = await opened.table.read(connection, bodies=True)
    _require_ours(opened, found.fence.ledger, found.fence.restoring, ledger)
    await _refuse_references(opened, objects)
    await opened.table.replace_all(
        connection,
        found.entries.values(),
        epoch=epoch,
        fence=msgspec.structs.replace(found.fence, resetting=True),
    )
    await connection.execute("SET SESSION foreign_key_checks = 0")
    for owned in objects:
        await _require_fence(opened, epoch=epoch)
        if owned.kind == "index":
            await _drop_index(opened, owned)
        else:
            await drop_object(connection, owned.kind.upper(), owned.name)
        failpoints.reach("engine.after_statement")
    failpoints.reach("engine.before_marker")
    await opened.table.replace_all(connection, (), epoch=epoch, fence=with_restoring(found, ""))
    failpoints.reach("engine.after_marker")


async def drop_object(connection: MysqlConnection, kind: str, name: str) -> None:
    """DROP … IF EXISTS, in the mode whose grammar knows packages if it is one."""
    sql = f"DROP {kind} IF EXISTS {quote_identifier(name)}"
    if not kind.startswith("PACKAGE"):
        await connection.execute(sql, seconds=NO_DEADLINE)
        return
    ((mode,),) = await connection.fetch("SELECT @@sql_mode")
    await connection.execute("SET SESSION sql_mode = 'ORACLE'")
    await connection.execute(sql, seconds=NO_DEADLINE)
    await connection.execute("SET SESSION sql_mode = %s", (mode,))


def _require_ours(opened: Opened, found: str, restoring: str, ledger: str) -> None:
    if found not in ("", ledger):
        raise TenantError(
            f"this tenant belongs to another ledger ({found}, not {ledger})",
            hint="Reset it from its own ledger.",
            tenant=opened.tenant,
        )
    if restoring:
        raise TenantError(
            f"a restore of {restoring} was interrupted; the tenant holds a part of it",
            hint="Run `ledger restore --tenant NAME` again, then reset it.",
            tenant=opened.tenant,
        )


async def _require_fence(opened: Opened, *, epoch: int) -> None:
    """For servers whose lock does not hold: raises FencedError once a newer claim has passed."""
    found = await opened.table.read(opened.connection)
    if found.epoch != epoch:
        raise fenced(found.epoch, epoch, tenant=opened.tenant)


async def _refuse_references(opened: Opened, objects: Sequence[Owned]) -> None:
    """Foreign keys from other tables of this server, a neighbour's and other databases' included."""
    going = {owned.name for owned in objects if owned.kind == "table"}
    rows: list[tuple[Any, ...]] = await opened.connection.fetch(REFERENCES) if going else []
    for schema, table, parent in rows:
        if parent in going and (schema != opened.names.database or table not in going):
            raise TenantError(
                f"table {schema}.{table}, which these migrations did not create, refers to table"
                f" {parent}, which they did",
                hint="Drop that foreign key first; nothing was dropped.",
                tenant=opened.tenant,
            )


async def _drop_index(opened: Opened, index: Owned) -> None:
    rows = await opened.connection.fetch(INDEX_OF, (index.table, index.name))
    if rows:
        await opened.connection.execute(
            f"DROP INDEX {quote_identifier(index.name)} ON {quote_identifier(index.table)}",
            seconds=NO_DEADLINE,
        )
