"""An open tenant of MySQL or MariaDB: its connection, its names, and how it is held.

Invariant: the connection is never renewed behind an operation's back; where a new one
is needed (a migration changed the session's settings), the fence is set anew.
"""

from __future__ import annotations

from ledger.drivers.mysql import MysqlConnection, open_connection, quote_identifier
from ledger.drivers.url import MysqlUrl
from ledger.engines.base import Target
from ledger.engines.mysql.lock import fence
from ledger.engines.mysql.lock.marker import MarkerTable, Remembered
from ledger.engines.mysql.schema.introspect import SchemaReader
from ledger.engines.mysql.schema.lineage import Lineage
from ledger.engines.mysql.schema.objects import KnownNames, Names
from ledger.engines.mysql.shared import Shared


class Opened:
    """What every operation on a tenant is given. `connection` is the tenant's, `shared` the engine's.

    `remembered` is the marker under the fence that was set, None without one. `storage` holds the
    storage engines of tables as far as they were asked for, `bytes` the tenant's size once it is known.
    """

    def __init__(
        self, target: Target, url: MysqlUrl, connection: MysqlConnection, shared: Shared
    ) -> None:
        self.target = target
        self.tenant = target.name
        self.url = url
        self.connection = connection
        self.shared = shared
        self.names = Names(database=url.database or "", prefix=target.prefix)
        self.known = KnownNames(target.prefix)
        self.table = MarkerTable(target)
        self.reader = SchemaReader(target, self.names, self.table.name, shared)
        self.lineage = Lineage(shared)
        self.remembered: Remembered | None = None
        self.storage: dict[str, str] = {}
        self.bytes: int | None = None
        self._fresh: fence.Taken | None = None
        self._sql_mode: str | None = None
        self._dirty = self._used = self._plain = False

    @property
    def locked(self) -> bool:
        """Whether the server's lock keeps everybody else from this tenant."""
        return self.remembered is not None and not self.remembered.fence.warnings

    @property
    def origin(self) -> str:
        """What the effect of a statement depends on beside the tenant's schema and defaults."""
        return repr((self.url.server, self.target.session))

    @property
    def reusable(self) -> bool:
        """Whether the connection, once reset, is what a new one would be."""
        return self._plain and not self._dirty

    def without_database(self, text: str) -> str:
        """The text without the tenant database's name before other names."""
        return text.replace(quote_identifier(self.names.database) + ".", "")

    def left_something(self) -> None:
        """A statement may have left something: the next migration gets a connection that is as new."""
        self._used = True

    def soil(self) -> None:
        """A statement changed the connection's settings: the next migration gets a new connection."""
        self._dirty = True

    def replaced(self) -> None:
        """The tenant's content was replaced or dropped, or in part: nothing that was known holds."""
        self._dirty, self.remembered = True, None
        self.lineage.attempt()
        self.known.forget()

    async def fence(self, *, epoch: int, ledger: str, takes_over: bool = False) -> Remembered:
        """Hold the lock and set the fence; what the marker said before. Raises as `fence.take` does."""
        taken = await fence.take(
            self.connection,
            self.table,
            self.target,
            database=self.names.database,
            epoch=epoch,
            ledger=ledger,
            takes_over=takes_over,
        )
        self.remembered = taken.now
        self._plain = taken.plain
        self._fresh = taken if not taken.found.exists else None
        return taken.found

    async def fenced(self, *, epoch: int, ledger: str) -> Remembered:
        """The marker under our fence, on a connection that no earlier migration has changed."""
        if self._dirty or self._used:
            await self._renew()
        if self.remembered is None or self.remembered.epoch != epoch:
            await self.fence(epoch=epoch, ledger=ledger)
        if self.remembered is None:
            raise RuntimeError("the fence was not set")
        return self.remembered

    async def renew(self, *, epoch: int, ledger: str) -> None:
        """A new connection under the same claim; whatever the old one was doing is over then."""
        await self._renew()
        await self.fence(epoch=epoch, ledger=ledger)

    async def _renew(self) -> None:
        await self.connection.aclose()
        self.remembered = None
        self.connection = await open_connection(
            self.url, self.target.secret, session=self.target.session
        )
        self._dirty = self._used = False

    async def sql_mode(self) -> str:
        """The mode that a connection to the tenant begins with; asked once, before a migration changes it."""
        if self._sql_mode is None:
            ((mode,),) = await self.connection.fetch("SELECT @@sql_mode")
            self._sql_mode = str(mode)
        return self._sql_mode

    async def begin_mode_again(self) -> None:
        """Give the connection the mode that it began with: in that one checks are read, here and later."""
        mode = await self.sql_mode()
        ((now,),) = await self.connection.fetch("SELECT @@sql_mode")
        if now != mode:
            self.soil()
            await self.connection.execute("SET SESSION sql_mode = %s", (mode,))

    async def measure(self) -> None:
        """Read the tenant's size and names, unless they are known.

        A tenant that nobody has migrated is most often empty: then its lineage begins here.
        """
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            listing = await self.reader.fresh_listing(self.connection)
            if listing.empty and fresh.defaults:
                server = (self.url.server, self.connection.server.text, self.target.session)
                self.lineage.begin(repr((server, fresh.defaults)))
        elif self.bytes is None:
            listing = await self.reader.listing(self.connection, programs=False)
        else:
            return
        self.known.learn(listing.all_names)
        self.bytes = listing.bytes
