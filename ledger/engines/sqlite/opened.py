"""An open SQLite tenant: its connection, and what runs in the connection's thread.

Invariant: after every method, also a failed or cancelled one, no transaction is
open and the connection's foreign_keys setting is what it was when it was opened.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import aiosqlite
import anyio

from ledger import failpoints
from ledger.drivers.sqlite import CLOSE_SECONDS, Opener, call, close, open_somehow
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.marker import read_marker
from ledger.engines.sqlite.steps import begin_immediate, commit, snapshot
from ledger.engines.sqlite.trouble import BusyError, locked, refused
from ledger.engines.work import Marker
from ledger.errors import TenantError, UnreachableError

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1
"""Between two attempts to get a lock: doubled each time, up to the longest."""


class Opened:
    """What every operation on a tenant is given. `path` is the database file as the target names it,
    `inside` what happens in the connection's thread.

    `damage` is set, and there is no connection, if the file is missing or no
    database and the target was opened for a restore. `opener` makes a connection
    whose closing `stack` sees to.
    """

    def __init__(
        self,
        inside: Inside,
        opener: Opener,
        stack: AsyncExitStack,
        *,
        lock_seconds: float,
    ) -> None:
        self.inside = inside
        self.path = inside.path
        self.damage: UnreachableError | None = None
        self._lock_seconds = lock_seconds
        self._opener = opener
        self._stack = stack
        self._connection: aiosqlite.Connection | None = None

    @property
    def tenant(self) -> str:
        """The tenant's name, for errors."""
        return self.inside.tenant

    @property
    def connection(self) -> aiosqlite.Connection:
        """The open connection. Raises UnreachableError if the file is damaged."""
        if self._connection is None:
            raise self.damage or UnreachableError("the database is closed", tenant=self.tenant)
        return self._connection

    async def connect(self) -> None:
        """Open the database. Raises sqlite3.Error, UnreachableError and LockedError."""

        async def attempt() -> aiosqlite.Connection:
            return await open_somehow((self._opener,), self.path, self._stack, self.inside.prepare)

        self._connection = await self._patiently(attempt, doing="open the database")
        self.damage = None

    async def disconnect(self) -> None:
        """Let go of the file, so that a restore can put another one in its place."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await close(connection)

    async def reconnect(self) -> None:
        """A new connection. Raises UnreachableError and LockedError."""
        await self.disconnect()
        try:
            await self.connect()
        except sqlite3.Error as error:
            raise refused(error, tenant=self.tenant, doing=f"open {self.path}") from error

    async def run(
        self,
        function: Callable[[sqlite3.Connection], T],
        *,
        doing: str,
        stop: threading.Event | None = None,
        timeout_seconds: float | None = None,
    ) -> T:
        """Run a function in the connection's thread, and again while others hold a lock it needs.

        The function may be run several times: it raises BusyError before it has
        written anything, or from its COMMIT. `doing` completes "cannot …" in an
        error. Raises LockedError, UnreachableError, DiskFullError, TimeoutError, and what the
        function raises.
        """
        connection = self.connection

        async def attempt() -> T:
            return await call(connection, function, stop=stop, timeout_seconds=timeout_seconds)

        try:
            return await self._patiently(attempt, doing=doing)
        except sqlite3.Error as error:
            await self.reset(error)
            raise refused(error, tenant=self.tenant, doing=doing) from error
        except BaseException as error:
            await self.reset(error)
            raise

    async def read(self, function: Callable[[sqlite3.Connection], T], *, doing: str) -> T:
        """Run a function in a read transaction. May be repeated, and raises, as `run` does."""

        def read(database: sqlite3.Connection) -> T:
            with snapshot(database):
                return function(database)

        return await self.run(read, doing=doing)

    async def write(
        self,
        function: Callable[[sqlite3.Connection, Marker], T],
        *,
        doing: str,
        deletes: bool = False,
        then: Callable[[T], T] = lambda value: value,
    ) -> T:
        """Run a function, which is given the marker, in a write transaction; `then` after its COMMIT.

        With `deletes` the foreign keys' actions are off, so that nothing goes that was not
        named. Only the COMMIT is repeated while others read. Raises as `run` does.
        """
        inside, results = self.inside, list[T]()

        def write(database: sqlite3.Connection) -> T:
            if not database.in_transaction:
                if deletes:
                    inside.set_foreign_keys(database, False)
                begin_immediate(database)
                results.append(function(database, read_marker(database, tenant=self.tenant)))
            commit(database)
            if deletes:
                failpoints.reach("engine.after_commit")
                inside.set_foreign_keys(database, inside.foreign_keys)
            return then(results[-1])

        return await self.run(write, doing=doing)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], *, doing: str) -> T:
        """Try until no other connection's lock is in the way. Raises LockedError."""
        give_up = anyio.current_time() + self._lock_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except BusyError as error:
                if anyio.current_time() >= give_up:
                    raise locked(
                        tenant=self.tenant, path=self.path, doing=doing, seconds=self._lock_seconds
                    ) from error
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def reset(self, cause: BaseException) -> None:
        """Roll back and undo our settings after `cause`; a failure of that is noted on it."""
        with anyio.move_on_after(CLOSE_SECONDS, shield=True) as scope:
            try:
                await call(self.connection, self.inside.clean_up)
            except (sqlite3.Error, TenantError, ValueError) as error:
                cause.add_note(f"rolling back failed too: {error}")
        if scope.cancelled_caught:
            cause.add_note(f"rolling back did not end within {CLOSE_SECONDS:g} s")
