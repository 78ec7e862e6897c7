"""An open SQLite tenant.

Invariant: after every method, also a failed or cancelled one, no transaction is
open and the connection's foreign_keys setting is what it was when it was opened.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import aiosqlite
import anyio
import anyio.to_thread

from ledger import failpoints
from ledger.drivers.sqlite import CLOSE_SECONDS, Opener, call, close, open_somehow
from ledger.engines.base import Backup, Done, Journal, Marker, SyncPlan, Work
from ledger.engines.checks import require_fingerprint
from ledger.engines.measured import Plan
from ledger.engines.sqlite import backup as backups
from ledger.engines.sqlite import python, restore, stepwise, transaction
from ledger.engines.sqlite import wish as wishes
from ledger.engines.sqlite.explain import explain
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.marker import (
    CREATE_MARKER,
    admit,
    put_fence,
    read_marker,
    replace_entries,
)
from ledger.engines.sqlite.steps import (
    begin_immediate,
    begin_read,
    commit,
    marks_connection,
    roll_back,
    run_checks,
)
from ledger.engines.sqlite.trouble import BusyError, locked, refused
from ledger.engines.sqlite.upkeep import SqliteUpkeep
from ledger.errors import TenantError, UnreachableError
from ledger.events import CheckResult, Mark, MigrationRef
from ledger.schema import Schema
from ledger.scripts.created import Owned
from ledger.scripts.model import Check, Step

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1
"""Between two attempts to get a lock: doubled each time, up to the longest."""


class SqliteSession:
    """See ledger.engines.base.Session. `path` is the database file as the target names it,
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
        self.lock_seconds = lock_seconds
        self.damage: UnreachableError | None = None
        self._opener = opener
        self._stack = stack
        self._connection: aiosqlite.Connection | None = None
        self._marked = False

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

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], *, doing: str) -> T:
        """Try until no other connection's lock is in the way. Raises LockedError."""
        give_up = anyio.current_time() + self.lock_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except BusyError as error:
                if anyio.current_time() >= give_up:
                    raise locked(
                        tenant=self.tenant, path=self.path, doing=doing, seconds=self.lock_seconds
                    ) from error
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def reset(self, cause: BaseException) -> None:
        """Roll back and undo our settings after `cause`; a failure of that is noted on it."""
        with anyio.move_on_after(CLOSE_SECONDS, shield=True) as scope:
            try:
                await call(self.connection, self.inside.settle)
            except (sqlite3.Error, TenantError, ValueError) as error:
                cause.add_note(f"rolling back failed too: {error}")
        if scope.cancelled_caught:
            cause.add_note(f"rolling back did not end within {CLOSE_SECONDS:g} s")

    async def marker(self) -> Marker:
        """What the tenant remembers; reads only."""

        def read(database: sqlite3.Connection) -> Marker:
            begin_read(database)
            try:
                return read_marker(database, tenant=self.tenant)
            finally:
                roll_back(database)

        return await self.run(read, doing="read the marker")

    async def fence(self, *, epoch: int, ledger: str) -> Marker:
        """Set the fence and return what was there before. Raises FencedError, having written nothing."""

        def write(database: sqlite3.Connection) -> Marker:
            if not database.in_transaction:
                begin_immediate(database)
                found = read_marker(database, tenant=self.tenant)
                admit(found, epoch=epoch, ledger=ledger, tenant=self.tenant)
                database.execute(CREATE_MARKER)
                put_fence(database, found, epoch=epoch, ledger=ledger)
                before.append(found)
            commit(database)
            return before[-1]

        before: list[Marker] = []
        return await self.run(write, doing="set the fence")

    async def apply(
        self, work: Work, journal: Journal, *, known: frozenset[str] = frozenset()
    ) -> Done:
        """See ledger.engines.base.Session.apply; a migration finds a connection that no other has marked."""
        if self._marked:
            await self.reconnect()
        self._marked = work.python is not None or any(
            marks_connection(step.sql) for step in work.section.steps
        )
        if work.python is not None:
            return await python.apply(self, work, journal, known)
        if work.section.transaction:
            return await transaction.apply(self, work, journal, known)
        return await stepwise.apply(self, work, journal, known)

    async def adopt(self, refs: Sequence[MigrationRef], *, epoch: int, ledger: str) -> Mark:
        """Make the marker say that exactly `refs` are applied.

        A tenant of another ledger becomes this one's, whatever its fence was:
        the other ledger's runners are refused from here on by its id.
        """

        def write(database: sqlite3.Connection) -> Mark:
            if not database.in_transaction:
                begin_immediate(database)
                found = read_marker(database, tenant=self.tenant)
                if found.ledger in ("", ledger):
                    admit(found, epoch=epoch, ledger=ledger, tenant=self.tenant)
                database.execute(CREATE_MARKER)
                put_fence(database, found, epoch=epoch, ledger=ledger)
                replace_entries(database, found, refs, epoch=epoch)
                marks.append(self.inside.marked(database)[0])
            commit(database)
            return self.inside.complete(marks[-1])

        marks: list[Mark] = []
        return await self.run(write, doing="write the marker")

    async def drop(self, objects: Sequence[Owned], *, epoch: int, ledger: str) -> Mark:
        """See Session.drop; all of it is one transaction."""

        def write(database: sqlite3.Connection) -> Mark:
            if not database.in_transaction:
                # DROP TABLE would delete the rows one by one, and what refers to them.
                self.inside.set_foreign_keys(database, False)
                begin_immediate(database)
                found = read_marker(database, tenant=self.tenant)
                admit(found, epoch=epoch, ledger=ledger, tenant=self.tenant)
                for one in objects:
                    name = '"' + one.name.replace('"', '""') + '"'
                    database.execute(f"DROP {one.kind.upper()} IF EXISTS main.{name}")
                    failpoints.reach("engine.in_transaction")
                database.execute(CREATE_MARKER)
                put_fence(database, found, epoch=epoch, ledger=ledger)
                replace_entries(database, found, (), epoch=epoch)
                marks.append(self.inside.marked(database)[0])
            commit(database)
            failpoints.reach("engine.after_commit")
            self.inside.set_foreign_keys(database, self.inside.foreign_keys)
            return self.inside.complete(marks[-1])

        marks: list[Mark] = []
        return await self.run(write, doing="drop what migrations created")

    async def check(self, checks: Sequence[Check]) -> tuple[CheckResult, ...]:
        """Run checks in one snapshot; a check that cannot run has not passed."""
        stop = threading.Event()

        def read(database: sqlite3.Connection) -> tuple[CheckResult, ...]:
            begin_read(database)
            try:
                return run_checks(database, checks, stop)
            finally:
                roll_back(database)

        return await self.run(read, doing="run the checks", stop=stop)

    async def explain(self, queries: Sequence[str]) -> tuple[Plan, ...]:
        """See Session.explain."""
        return await self.run(
            lambda database: explain(database, queries), doing="explain the queries"
        )

    async def schema(self) -> Schema:
        """The live schema, without the marker table."""

        def read(database: sqlite3.Connection) -> Schema:
            begin_read(database)
            try:
                return self.inside.cache.read(database)[1]
            finally:
                roll_back(database)

        return await self.run(read, doing="read the schema")

    async def plan_sync(self, wish: Sequence[Step]) -> SyncPlan:
        """See Session.plan_sync."""
        made = self._made(wish)
        return wishes.plan(made, await self.schema(), after=0)

    async def scratch_schema(self, steps: Sequence[Step]) -> Schema:
        """See Session.scratch_schema: in memory, where ATTACH is refused."""
        return (await anyio.to_thread.run_sync(self._made, steps)).schema

    def _made(self, wish: Sequence[Step]) -> wishes.Wish:
        return wishes.make(
            wish,
            self.inside.cache,
            tenant=self.tenant,
            application=self.inside.target.application,
        )

    async def mark(self) -> Mark:
        """What `Done.mark` holds, read now."""

        def read(database: sqlite3.Connection) -> Mark:
            begin_read(database)
            try:
                found, _ = self.inside.marked(database)
            finally:
                roll_back(database)
            return self.inside.complete(found)

        return await self.run(read, doing="read the schema")

    def upkeep(self) -> SqliteUpkeep:
        """See ledger.engines.base.Session.upkeep."""
        return SqliteUpkeep(self)

    async def backup(
        self, destination: Path, *, deadline_seconds: float, pending: Sequence[str] = ()
    ) -> Backup:
        """See ledger.engines.base.Session.backup."""
        return await backups.backup(self, destination, deadline_seconds=deadline_seconds)

    async def require_restorable(self, backup: Path, *, sha256: str) -> None:
        """See ledger.engines.base.Session.require_restorable: `restore` replaces nothing before it."""

    async def restore(
        self,
        backup: Path,
        *,
        sha256: str,
        epoch: int,
        ledger: str,
        deadline_seconds: float,
        fingerprint: str = "",
        unmade: list[str] | None = None,
    ) -> Mark:
        """See ledger.engines.base.Session.restore; the target may be missing or damaged."""
        mark = await restore.restore(
            self,
            restore.Source(path=backup, sha256=sha256, epoch=epoch, ledger=ledger),
            deadline_seconds=deadline_seconds,
        )
        require_fingerprint(mark, fingerprint, tenant=self.tenant)
        return mark
