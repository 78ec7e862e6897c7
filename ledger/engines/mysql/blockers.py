"""Who holds the lock that a statement waited for in vain, as far as this account may see."""

from __future__ import annotations

from typing import Final

from ledger.drivers.mysql import MysqlConnection, QueryError

OPEN_TRANSACTIONS: Final = """
SELECT p.ID, p.USER, p.HOST, p.COMMAND, TIMESTAMPDIFF(SECOND, t.trx_started, NOW())
FROM information_schema.INNODB_TRX AS t
JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id
WHERE p.DB = DATABASE() AND p.ID <> CONNECTION_ID()
ORDER BY t.trx_started LIMIT 3
"""
STATEMENTS: Final = """
SELECT ID, USER, HOST, COMMAND, TIME
FROM information_schema.PROCESSLIST
WHERE DB = DATABASE() AND ID <> CONNECTION_ID() AND COMMAND <> 'Sleep'
ORDER BY TIME DESC LIMIT 3
"""


async def who_blocks(connection: MysqlConnection) -> str:
    """`; perhaps blocked by connection 12 (app@web-3, …)`, or nothing if nobody can be seen."""
    for sql in (OPEN_TRANSACTIONS, STATEMENTS):
        try:
            rows = await connection.fetch(sql)
        except QueryError:
            # This account may not look (PROCESS); the error itself says enough.
            continue
        if rows:
            seen = ", ".join(
                f"connection {thread} ({user}@{host}, {command.lower()}, since {seconds} s)"
                for thread, user, host, command, seconds in rows
            )
            return f"; perhaps blocked by {seen}"
    return ""
