"""What a server says of a ledger: errors by name, who holds its lock, and what cannot hold a ledger.

A process that is stopped inside its append holds the head row. MariaDB ends such a
transaction by itself (`idle_transaction_timeout`); MySQL has no such thing, so that
whoever waited in vain ends it. Invariant: only connections that stores opened to append
are ended. To such a one it is a lost connection: its append is settled by event id.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ledger.drivers.blockers import open_transactions
from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import ConnectRefusedError, DriverError, QueryError
from ledger.drivers.url import MysqlUrl
from ledger.errors import DuplicateKeyError, StoreUnavailableError

WRITER: Final = "ledger-append"
"""The program's name that a store's writing connection has on the server."""

IDLE_SECONDS: Final = 10
"""How long an append may do nothing between two of its statements, on either server."""

LOCK_WAIT: Final = 1205
_WSREP: Final = "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'"

# Both are open to every account: its own connections, and their programs' names.
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


async def refuse_galera(connection: MysqlConnection, url: MysqlUrl) -> None:
    """Raise StoreUnavailableError on a Galera cluster, whose head row is not one row for all nodes."""
    rows = await connection.fetch(_WSREP)
    if rows and str(rows[0][1]).upper() == "ON":
        raise StoreUnavailableError(
            f"{url.server} is a Galera cluster (wsrep_on), which cannot hold a ledger: "
            "two nodes may commit the same seq",
            hint="Keep the ledger on a single server, or in a SQLite file.",
        )


DUPLICATE: Final = 1062
_BINARY_LOG: Final = 1419
NO_TRIGGERS: Final = frozenset({1142, 1227, _BINARY_LOG})
_DENIED: Final = frozenset({1044, 1142, 1143, 1227, 1370})
_READ_ONLY: Final = frozenset({1290, 1792, 1836, 3032})
_NO_ROOM: Final = frozenset({1021, 1114, 1030, 3})


class NoTriggersError(QueryError):
    """The account may make tables, and no triggers."""


def translated(error: DriverError, url: MysqlUrl) -> StoreUnavailableError:
    """The driver's exception in the ledger's words, with the GRANT where one is missing."""
    where = f"the ledger on {url.server}, database {url.database}"
    user, name = url.user or "the user", f"`{url.database}`.*"
    if isinstance(error, ConnectRefusedError):
        hint = "Check that the server runs, and `url` and the password in the configuration."
        return StoreUnavailableError(f"{where} cannot be reached: {error}", hint=hint)
    if error.code == DUPLICATE:
        return DuplicateKeyError(
            f"{where} does not fit together: its head row and its events disagree: {error}",
            hint="Run `ledger verify` to see where, and restore the ledger from a copy.",
        )
    if isinstance(error, NoTriggersError):
        hint = f"As an administrator: GRANT TRIGGER ON {name} TO {user};"
        if error.code == _BINARY_LOG:
            # With binary logging, MySQL wants more than the privilege.
            hint += " SET GLOBAL log_bin_trust_function_creators = 1;"
        hint += " Or run the first `ledger migrate --all-tenants` as an administrator."
        return StoreUnavailableError(
            f"{where} cannot be made append-only, which takes triggers: {error}", hint=hint
        )
    if error.code in _DENIED:
        hint = (
            "As an administrator: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW, DROP, ALTER, TRIGGER "
            f"ON {name} TO {user};"
        )
        return StoreUnavailableError(f"{where} refuses this user: {error}", hint=hint)
    if error.code in _READ_ONLY:
        hint = "Point `url` at the primary, or end the server's read_only."
        return StoreUnavailableError(f"{where} is read-only: {error}", hint=hint)
    if error.code in _NO_ROOM:
        hint = "Free some space on the server, then run the command again."
        return StoreUnavailableError(f"{where} has no room left: {error}", hint=hint)
    return StoreUnavailableError(
        f"{where} cannot be used: {error}",
        hint="Run the same command again; if it fails the same way, run `ledger verify`.",
    )
