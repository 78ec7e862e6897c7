"""Who holds the lock that a statement timed out on, as far as this account may see."""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import QueryError

OPEN_TRANSACTIONS: Final = """
SELECT p.ID, p.USER, p.HOST, p.COMMAND, TIMESTAMPDIFF(SECOND, t.trx_started, NOW())
FROM information_schema.INNODB_TRX AS t
JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id
WHERE p.DB = DATABASE() AND p.ID <> CONNECTION_ID() AND t.trx_state <> 'LOCK WAIT'
ORDER BY t.trx_started LIMIT 3
"""
STATEMENTS: Final = """
SELECT ID, USER, HOST, COMMAND, TIME
FROM information_schema.PROCESSLIST
WHERE DB = DATABASE() AND ID <> CONNECTION_ID() AND COMMAND <> 'Sleep'
ORDER BY TIME DESC LIMIT 3
"""


class Blocker(msgspec.Struct, frozen=True):
    """A connection that may hold the lock: the server's row of it."""

    thread: int
    user: str
    host: str
    command: str
    seconds: int

    def __str__(self) -> str:
        return (
            f"connection {self.thread} ({self.user}@{self.host}, {self.command.lower()}, "
            f"since {self.seconds} s)"
        )


async def open_transactions(connection: MysqlConnection) -> tuple[Blocker, ...]:
    """The oldest of this database that wait for nobody; none where this account may not look (PROCESS)."""
    return await _look(connection, OPEN_TRANSACTIONS)


async def who_blocks(connection: MysqlConnection) -> str:
    """`; perhaps blocked by connection 12 (app@web-3, …)`, or nothing if nobody can be seen."""
    found = await open_transactions(connection) or await _look(connection, STATEMENTS)
    return f"; perhaps blocked by {', '.join(map(str, found))}" if found else ""


async def _look(connection: MysqlConnection, sql: str) -> tuple[Blocker, ...]:
    try:
        return tuple(Blocker(*row) for row in await connection.fetch(sql))
    except QueryError:
        # The error that brought us here says enough.
        return ()
