"""Who keeps the others from a ledger on a server, and ending a runner of ours that stands still.

A process that is stopped inside its append holds the head row. MariaDB ends such a
transaction by itself (`idle_transaction_timeout`); MySQL has no such thing, so that
whoever waited in vain does it. Invariant: only connections that stores opened to append
are ended. To such a one it is a lost connection: its append is settled by event id.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ledger.drivers.blockers import open_transactions
from ledger.drivers.mysql import MysqlConnection, QueryError
from ledger.drivers.url import MysqlUrl
from ledger.errors import StoreUnavailableError

WRITER: Final = "ledger-append"
"""The program's name that a store's writing connection tells the server."""

IDLE_SECONDS: Final = 10
"""How long an append may do nothing between two of its statements, on either server."""

LOCK_WAIT: Final = 1205

# Both are open to every account: its own connections, and what they told of themselves.
_IDLE_WRITERS: Final = """
SELECT p.ID
FROM performance_schema.session_account_connect_attrs AS a
JOIN information_schema.PROCESSLIST AS p ON p.ID = a.PROCESSLIST_ID
WHERE a.ATTR_NAME = 'program_name' AND a.ATTR_VALUE = %s
AND p.DB = DATABASE() AND p.COMMAND = 'Sleep' AND p.TIME >= %s
"""
# Takes PROCESS. Without it an idle writer that holds nothing is ended too, and just connects again.
_IN_TRANSACTION: Final = "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX"


async def end_idle_writers(connection: MysqlConnection) -> None:
    """End the appends of this account that have stood still for IDLE_SECONDS."""
    try:
        idle = {
            int(row[0]) for row in await connection.fetch(_IDLE_WRITERS, (WRITER, IDLE_SECONDS))
        }
    except QueryError:
        # MariaDB has no such table: it has ended them itself.
        return
    with suppress(QueryError):
        idle &= {int(row[0]) for row in await connection.fetch(_IN_TRANSACTION)}
    for thread in idle:
        await connection.kill(thread)


async def locked_out(connection: MysqlConnection, url: MysqlUrl) -> StoreUnavailableError:
    """The error for a lock that somebody else kept: who, as far as this account may see, and what to do."""
    seen = await open_transactions(connection)
    who = ", ".join(map(str, seen)) or "this account may not see which (it lacks PROCESS)"
    kill = f"KILL {seen[0].thread}" if seen else "find it with SHOW PROCESSLIST and KILL it"
    return StoreUnavailableError(
        f"another session holds the ledger's lock on {url.server}, database {url.database}: {who}",
        hint="If its process is stopped, let it go on (`kill -CONT`) or end it on its host; or, as "
        f"an administrator, {kill}. Then run the same command again.",
    )
