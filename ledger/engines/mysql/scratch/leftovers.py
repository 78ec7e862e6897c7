"""Scratch databases of commands that were killed: which there are, and dropping them.

A command that makes a scratch database holds GET_LOCK of its name for as long as it is used, and the
server frees that lock with the connection. Invariant: a database is dropped only if its name
is one that this tool gives, while its lock is ours; and never where such a lock holds on one
node of several.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError

NAMES: Final = r"""
SELECT SCHEMA_NAME FROM information_schema.SCHEMATA
WHERE SCHEMA_NAME LIKE 'ledger\_scratch\_%' OR SCHEMA_NAME LIKE 'ledger\_rehearse\_%'
ORDER BY SCHEMA_NAME
"""
GIVEN: Final = re.compile(r"ledger_(scratch_(w[0-9a-f]{23}|[0-9a-f]{24})|rehearse_[0-9a-f]{24})")
FREE: Final = "SELECT IS_FREE_LOCK(%s)"
LOCK: Final = "SELECT GET_LOCK(%s, 0)"
RELEASE: Final = "SELECT RELEASE_LOCK(%s)"
DROP_SECONDS: Final = 10.0


async def left(connection: MysqlConnection) -> list[str]:
    """The names of scratch databases that no command uses. Raises DriverError."""
    return [
        name
        for name in await _all(connection)
        if (await connection.fetch(FREE, (name,)))[0][0] == 1
    ]


async def sweep(connection: MysqlConnection) -> None:
    """Drop them; one that this account may not drop stays. Raises DriverError for a lost connection."""
    for name in await _all(connection):
        try:
            if (await connection.fetch(LOCK, (name,)))[0][0] == 1:
                sql = f"DROP DATABASE IF EXISTS {quote_identifier(name)}"
                await connection.execute(sql, seconds=DROP_SECONDS)
                await connection.fetch(RELEASE, (name,))
        except QueryError:
            # `doctor` names what stays; no run fails because of it.
            continue


async def _all(connection: MysqlConnection) -> list[str]:
    names = [str(row[0]) for row in await connection.fetch(NAMES)]
    return [name for name in names if GIVEN.fullmatch(name)]
