"""Where a ledger can live, for the tests of all stores, and events to put into it."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import msgspec

from ledger.audit import ChainCheck
from ledger.drivers.url import MysqlUrl, SecretSource, SqliteUrl
from ledger.events import GENESIS_HASH, AnyEvent, LeaseRenewed, NewEvent, Recorded
from ledger.stores import open_store
from ledger.stores.base import Append, Filter
from ledger.stores.store import Store
from tests.servers import Server, queries

MEMORY = SqliteUrl(path=":memory:")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger's address; opening it there makes it. `server` is None for SQLite."""

    url: SqliteUrl | MysqlUrl
    server: Server | None = None

    def open(self, *, create: bool = True) -> AbstractAsyncContextManager[Store]:
        """The ledger at this address."""
        secret = self.server.secret if self.server else SecretSource()
        return open_store(self.url, secret, create=create)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Do something to the ledger behind its back; rows of the last statement."""
        if isinstance(self.url, MysqlUrl):
            assert self.server is not None
            return list(queries(self.server, statements, database=self.url.database))
        rows: list[tuple[Any, ...]] = []
        with closing(sqlite3.connect(self.url.path, isolation_level=None)) as db:
            for statement in statements:
                rows = db.execute(statement).fetchall()
        return rows


def sqlite_place(folder: Path) -> Place:
    """A file that is not there yet."""
    return Place(url=SqliteUrl(path=str(folder / "ledger.db")))


def server_place(server: Server, database: str) -> Place:
    """A database that is empty."""
    return Place(url=server.url_for(database), server=server)


def new_event(
    event: AnyEvent | None = None,
    *,
    run: str = "run-1",
    actor: str = "ana@build-7",
) -> NewEvent:
    """An event."""
    return NewEvent(event=event or LeaseRenewed(lease_seconds=30), run=run, actor=actor)


def request(stream: str, count: int = 1, *, expected: int | None = None) -> Append:
    """An append of `count` events."""
    return Append(stream=stream, events=tuple(new_event() for _ in range(count)), expected=expected)


async def read_all(store: Store, where: Filter = Filter(), *, batch: int = 5000) -> list[Recorded]:
    """All matching events in one list."""
    return [event async for events in store.read(where, batch=batch) for event in events]


async def audit(store: Store) -> int:
    """Check the whole chain against the head row; how many events there are."""
    ancestor = GENESIS_HASH
    async for old in store.old_events():
        ancestor = old.last_hash
    check = ChainCheck(ancestor=ancestor)
    async for page in store.walk():
        check.feed(page.rows, page.names, page.parts)
        assert len(await store.facts(page)) == len(page.rows)
    head = await store.head()
    check.finish(head_seq=head.seq, head_hash=head.hash)
    return check.seq
