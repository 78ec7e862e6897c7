"""Connections between two tenants of one server: kept, as good as new, and changed over.

Invariant: a connection is reset before it is kept, so that no lock, variable, temporary
table or transaction of one tenant is left for the next.
"""

from __future__ import annotations

from typing import Final

import anyio
import msgspec

from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import ConnectionLostError, DriverError, QueryTimeoutError
from ledger.drivers.url import MysqlUrl
from ledger.engines.base import Target

IDLE_MAX: Final = 64
"""Over all servers; what comes back beyond that is closed."""

IDLE_SECONDS: Final = 20.0
"""A connection that was idle for longer may be gone by now, and is not asked."""

RESET_SECONDS: Final = 5.0


class _Kept(msgspec.Struct, frozen=True):
    server: MysqlUrl
    target: Target
    since: float
    connection: MysqlConnection


class Idle:
    """What is kept. One event loop's."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    async def take(
        self, target: Target, url: MysqlUrl, *, seconds: float, lock_wait_seconds: int
    ) -> MysqlConnection | None:
        """One for the same account, changed over; None if there is none that answers.

        Raises ConnectRefusedError for the database, and QueryError for a bad `session` statement.
        """
        server = msgspec.structs.replace(url, database=None)
        while (kept := self._find(server, target)) is not None:
            if anyio.current_time() - kept.since > IDLE_SECONDS:
                await kept.connection.aclose()
                continue
            try:
                await kept.connection.change_over(
                    url.database or "",
                    lock_wait_seconds=lock_wait_seconds,
                    session=target.session,
                    seconds=seconds,
                )
            except (ConnectionLostError, QueryTimeoutError):
                continue
            except DriverError:
                await kept.connection.aclose()
                raise
            return kept.connection
        return None

    def _find(self, server: MysqlUrl, target: Target) -> _Kept | None:
        """The youngest that fits, which is then no longer kept."""
        for number in range(len(self._kept) - 1, -1, -1):
            kept = self._kept[number]
            if kept.server == server and kept.target.secret == target.secret:
                return self._kept.pop(number)
        return None

    async def give_back(self, connection: MysqlConnection, target: Target, url: MysqlUrl) -> None:
        """Reset it and keep it, or close it where that is not possible."""
        if connection.closed or len(self._kept) >= IDLE_MAX:
            await connection.aclose()
            return
        try:
            with anyio.move_on_after(RESET_SECONDS, shield=True):
                await connection.reset()
        except DriverError:
            await connection.aclose()
        if connection.closed:
            return
        server = msgspec.structs.replace(url, database=None)
        self._kept.append(_Kept(server, target, anyio.current_time(), connection))

    async def aclose(self) -> None:
        """Close all."""
        kept, self._kept = self._kept, []
        for idle in kept:
            await idle.connection.aclose()
