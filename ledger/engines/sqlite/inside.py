"""An open SQLite tenant as its connection's thread sees it: settings, marks, and what they cost.

Invariant: nothing here awaits, and nothing here opens or closes a file, so that a
session and a worker process use it alike.
"""

from __future__ import annotations

import os
import sqlite3

from ledger.engines.base import Target
from ledger.engines.sqlite.connection import EXTRA, keep_durable, prepare_connection
from ledger.engines.sqlite.peek import Descriptors, Header, Identity
from ledger.engines.sqlite.schema.introspect import SchemaCache
from ledger.engines.sqlite.steps import roll_back, snapshot
from ledger.errors import UnreachableError
from ledger.events import Mark
from ledger.schema import Schema


class Inside:
    """One connection's side of a tenant. `foreign_keys` is what it was opened with.

    For `synchronous` see ledger.engines.sqlite.connection.
    """

    def __init__(
        self,
        target: Target,
        path: str,
        *,
        cache: SchemaCache,
        descriptors: Descriptors,
        synchronous: int = EXTRA,
    ) -> None:
        self.target = target
        self.path = path
        self.cache = cache
        self.foreign_keys = False
        self._descriptors = descriptors
        self._synchronous = synchronous
        self._old: bool | None = None
        self._opened: Identity | None = None

    @property
    def tenant(self) -> str:
        """The tenant's name, for errors."""
        return self.target.name

    def prepare(self, database: sqlite3.Connection) -> None:
        """The first thing on a new connection. Raises BusyError, sqlite3.Error, UnreachableError."""
        self._old = None
        self._opened = self._there()
        self.foreign_keys = prepare_connection(database, self.target, synchronous=self._synchronous)

    def _there(self) -> Identity | None:
        """The file that the path leads to now."""
        try:
            found = os.stat(self.path)  # noqa: PTH116  (Path objects are half of the cost)
        except OSError:
            return None
        return found.st_ino, found.st_dev

    def require_in_place(self) -> None:
        """Raises UnreachableError if the path leads to another file than the one that is open.

        SQLite looks only when it makes its journal; what is committed later goes to a file
        that nobody finds any more.
        """
        if self._opened is not None and self._there() != self._opened:
            raise UnreachableError(
                f"{self.path} was replaced or removed while it was open",
                hint="Nothing was changed in the file that is there now; run the command again.",
                tenant=self.tenant,
            )

    def clean_up(self, database: sqlite3.Connection) -> None:
        """Roll back what is open, and put the settings back as they were."""
        roll_back(database)
        database.execute("PRAGMA query_only = OFF")
        self.set_foreign_keys(database, self.foreign_keys)

    def keep_durable(self, database: sqlite3.Connection) -> None:
        """See ledger.engines.sqlite.connection.keep_durable."""
        keep_durable(database, synchronous=self._synchronous)

    def set_foreign_keys(self, database: sqlite3.Connection, wanted: bool) -> None:
        """Outside a transaction (inside, the PRAGMA does nothing)."""
        database.execute(f"PRAGMA foreign_keys = {'ON' if wanted else 'OFF'}")

    def header(self) -> Header | None:
        return self._descriptors.header(self.path)

    def _old_header(self) -> bool:
        """Whether the file's header does not say so; a journal mode is not changed inside a transaction."""
        if self._old is None:
            self._old = self.header() is None
        return self._old

    def size(self, database: sqlite3.Connection) -> int:
        """The database's size in bytes, its free pages included, before the transaction's first write."""
        header = self.header()
        self._old = header is None
        return database_bytes(database) if header is None else header.bytes

    def marked(
        self, database: sqlite3.Connection, read: tuple[str, Schema] | None = None
    ) -> tuple[Mark, Schema]:
        """Inside a transaction: the mark, as far as it is known before the commit, and the schema.

        `read` is what the cache gave if nothing has changed the schema since.
        """
        found, schema = read or self.cache.read(database)
        (cookie,) = database.execute("PRAGMA main.schema_version").fetchone()
        pages = database_bytes(database) if self._old_header() else None
        return Mark(fingerprint=found, cookie=cookie, bytes=pages), schema

    def mark(self, database: sqlite3.Connection) -> Mark:
        """Outside a transaction: the mark, read now."""
        with snapshot(database):
            found, _ = self.marked(database)
        return self.complete(found)

    def complete(self, mark: Mark) -> Mark:
        """Outside a transaction: the mark with what only the file's header says."""
        header = self.header()
        return Mark(
            fingerprint=mark.fingerprint,
            cookie=mark.cookie,
            counter=header.counter if header else None,
            bytes=header.bytes if header else mark.bytes,
        )


def database_bytes(database: sqlite3.Connection) -> int:
    """The database's size inside the transaction, its free pages included."""
    (pages,) = database.execute("PRAGMA main.page_count").fetchone()
    (page,) = database.execute("PRAGMA main.page_size").fetchone()
    return int(pages * page)
