"""A statement's effect, seen in a scratch database: the tenant's tables without their rows.

What the statement touches is put there as it was before, everything else as it is,
then the statement runs. Invariant: the tenant itself is only read; the scratch
database has one name per tenant and is dropped before and after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from ledger.dialects.steps import Step
from ledger.drivers import mysql
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import objects
from ledger.errors import LockedError

TABLES_MAX: Final = 1000
SECONDS: Final = 60.0
DROP_SECONDS: Final = 20.0
LOCK_SECONDS: Final = 60
TABLES: Final = "SHOW FULL TABLES"
GET_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
DATABASE_DEFAULTS: Final = "SELECT @@character_set_database, @@collation_database"


class UnusableError(Exception):
    """This statement cannot be tried elsewhere; the message says why."""


async def after(
    opened: Opened,
    step: Step,
    pairs: Sequence[tuple[str, str]],
    before: Mapping[str, str],
) -> str:
    """The fingerprint of the touched objects after the statement. Raises UnusableError and driver errors."""
    if any("." in name for _, name in pairs) or quote_identifier(opened.names.database) in step.sql:
        raise UnusableError("the statement names a database, so that it cannot be tried elsewhere")
    tables = await opened.connection.fetch(TABLES)
    if len(tables) > TABLES_MAX:
        raise UnusableError(f"the tenant has more than {TABLES_MAX} tables to copy")
    name = "ledger_scratch_" + lock_name(opened.names.database, opened.names.prefix)[7:31]
    names = objects.Names(database=name, prefix=opened.names.prefix)
    ((mode,),) = await opened.connection.fetch("SELECT @@sql_mode")
    async with database(opened, name) as other:
        # The statement, and what SHOW CREATE wrote just now, are read in the mode of the step.
        await other.execute("SET SESSION sql_mode = %s", (mode,))
        touched = {wanted for _, wanted in pairs}
        await _copy(opened, other, [str(row[0]) for row in tables if row[0] not in touched])
        for kind, wanted in sorted(pairs, key=lambda pair: pair[0] != "table"):
            text = before.get(objects.object_key(kind, wanted))
            if text is not None:
                await other.execute(opened.without_database(text))
        await other.execute(step.sql, seconds=SECONDS)
        return objects.fingerprint(await objects.states(other, pairs, names), names)


@asynccontextmanager
async def database(
    opened: Opened, name: str, *, locked: bool = False
) -> AsyncIterator[MysqlConnection]:
    """An empty database with the tenant's defaults, on a connection of its own.

    Its name is locked while it is used (see leftovers.py), and others that want the same wait.
    `locked` is for callers without a claim on the tenant: a server without such locks is refused then.
    Raises LockedError after LOCK_SECONDS of waiting.
    """
    target = opened.target
    charset, collation = (await opened.connection.fetch(DATABASE_DEFAULTS))[0]
    quoted = quote_identifier(name)
    async with mysql.connect(opened.url, target.secret, session=target.session) as other:
        try:
            got = await _lock(other, name)
        except QueryError:
            if locked:
                raise
            got = None
        if got == 0 or (locked and got is None):
            raise LockedError(
                f"another command has kept the scratch database {name} for {LOCK_SECONDS} s",
                hint="Run the command again.",
                tenant=target.name,
            )
        await other.execute(f"DROP DATABASE IF EXISTS {quoted}")
        await other.execute(f"CREATE DATABASE {quoted} CHARACTER SET {charset} COLLATE {collation}")
        try:
            await other.execute(f"USE {quoted}")
            await other.execute("SET foreign_key_checks = 0")
            yield other
        finally:
            with anyio.move_on_after(DROP_SECONDS, shield=True):
                if not other.closed:
                    await other.execute(f"DROP DATABASE IF EXISTS {quoted}")


async def _lock(connection: MysqlConnection, name: str) -> int | None:
    """1 if it is ours now, 0 if another kept it, None where there are no such locks."""
    rows = await connection.fetch(GET_LOCK, (name, LOCK_SECONDS), seconds=LOCK_SECONDS + 10)
    return None if rows[0][0] is None else int(rows[0][0])


async def _copy(opened: Opened, other: MysqlConnection, names: Sequence[str]) -> None:
    """Tables first; then views, again and again until no more of them can be made."""
    views: list[str] = []
    for name in names:
        found = await objects.states(opened.connection, [("table", name)], opened.names)
        raw = opened.without_database(found[0].raw)
        if raw.startswith("CREATE TABLE"):
            await other.execute(raw)
        elif raw:
            views.append(objects.without_definer(raw))
    while views:
        left = []
        for text in views:
            try:
                await other.execute(text)
            except QueryError:
                # It stands on a view that is not there yet, or is broken in the tenant too.
                left.append(text)
        if len(left) == len(views):
            return
        views = left
