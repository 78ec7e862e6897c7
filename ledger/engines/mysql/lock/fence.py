"""Taking a tenant over from its last holder: GET_LOCK, KILL of a fenced predecessor, the marker's epoch.

A killed client's statement runs on, and its GET_LOCK is freed only after it (seen
on MariaDB 10.11 and MySQL 9.7): holding the lock proves that the old statement is
over. Invariant: a connection that the marker calls newer than ours is not killed.
"""

from __future__ import annotations

import hashlib
from typing import Final

import anyio
import msgspec

from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.base import Target
from ledger.engines.entries import require_epoch
from ledger.engines.mysql.lock.marker import Fence, MarkerTable, Remembered, RoutineGrant
from ledger.errors import LockedError

LOCK_SECONDS: Final = 60.0
"""How long a predecessor's killed statement may take to end; a big ALTER rolls back slowly."""

GET_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
DEFAULTS: Final = "SELECT GET_LOCK(%s, 0), @@init_connect, @@collation_database, @@sql_mode"
LOCK_HOLDER: Final = "SELECT IS_USED_LOCK(%s)"
RELEASE_LOCK: Final = "SELECT RELEASE_LOCK(%s)"

_ALONE: Final = "the marker's epoch alone fences this tenant"
_NOT_YOURS: Final = 1095
_GONE: Final = 1094


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """`found` was there before, `now` is there since. `defaults` are the database's, empty if not read.

    `plain`: the server runs nothing of its own on a new connection (`init_connect`).
    """

    found: Remembered
    now: Remembered
    defaults: str = ""
    plain: bool = False


def lock_name(database: str, prefix: str) -> str:
    """At most 64 characters, whatever the names are, and one for all ledgers."""
    return "ledger:" + hashlib.sha256(f"{database}\0{prefix}".encode()).hexdigest()[:48]


async def take(
    connection: MysqlConnection,
    table: MarkerTable,
    target: Target,
    *,
    database: str,
    epoch: int,
    ledger: str,
    takes_over: bool = False,
) -> Taken:
    """Hold the lock and set the fence.

    The ledger's id stays another's if it was, unless `takes_over`. Raises FencedError
    having written nothing, LockedError if the holder cannot be ended in time.
    """
    name = lock_name(database, target.prefix)
    warnings, defaults, plain = await _lock(connection, table, target, name, epoch=epoch)
    found = await table.read(connection)
    try:
        require_epoch(found.epoch, epoch, tenant=target.name)
    except BaseException:
        await connection.fetch(RELEASE_LOCK, (name,))
        raise
    keeps = found.fence.ledger and not takes_over
    fence = Fence(
        ledger=found.fence.ledger if keeps else ledger,
        connection_id=connection.thread_id,
        warnings=warnings,
        restoring=found.fence.restoring,
        resetting=found.fence.resetting,
        grants=found.fence.grants,
    )
    now = await table.raise_fence(connection, found, epoch=epoch, fence=fence)
    return Taken(found=found, now=now, defaults=defaults, plain=plain)


async def _lock(
    connection: MysqlConnection, table: MarkerTable, target: Target, name: str, *, epoch: int
) -> tuple[tuple[str, ...], str, bool]:
    """Get the lock, ending its holder if need be.

    Warnings if this server has no such locks; the database's defaults, if they were read;
    and `Taken.plain`.
    """
    try:
        got, init_connect, *defaults = (await connection.fetch(DEFAULTS, (name,)))[0]
        if got == 1:
            return (), repr(defaults), not init_connect
        if got is None:
            return (f"GET_LOCK returned NULL: {_ALONE}",), "", False
    except QueryError as error:
        return (f"GET_LOCK is not available ({error}): {_ALONE}",), "", False
    require_epoch((await table.read(connection)).epoch, epoch, tenant=target.name)
    holder = None
    with anyio.move_on_after(LOCK_SECONDS):
        while True:
            found = (await connection.fetch(LOCK_HOLDER, (name,)))[0][0]
            if found is not None and found != holder:
                holder = int(found)
                await _end(connection, target, holder)
            if (await connection.fetch(GET_LOCK, (name, 1)))[0][0] == 1:
                return (), "", False
    raise LockedError(
        f"connection {holder} of an earlier run still holds this tenant's lock "
        f"{LOCK_SECONDS:.0f} s after it was killed; its last statement is being rolled back",
        hint=f"Look at it with SHOW PROCESSLIST (Id {holder}); run the command again when it is gone.",
        tenant=target.name,
    )


async def _end(connection: MysqlConnection, target: Target, holder: int) -> None:
    try:
        await connection.execute(f"KILL {holder}")
    except QueryError as error:
        if error.code == _NOT_YOURS:
            raise LockedError(
                f"connection {holder} holds this tenant's lock, and this account may not kill it",
                hint="Use the account that holds it, or grant CONNECTION ADMIN.",
                tenant=target.name,
            ) from error
        if error.code != _GONE:
            raise


def with_restoring(
    found: Remembered, restoring: str, grants: tuple[RoutineGrant, ...] = ()
) -> Fence:
    """The fence row's words with the name of the backup that is being restored, or without.

    Either way no reset is under way any more.
    """
    return msgspec.structs.replace(found.fence, restoring=restoring, resetting=False, grants=grants)
