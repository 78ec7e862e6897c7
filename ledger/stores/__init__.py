"""The ledger's own database: one store, a small part per kind of database, one lookup table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ledger.drivers.url import MysqlUrl, SecretSource, SqliteUrl, Url
from ledger.stores.base import LEDGER_SCHEMA, Database
from ledger.stores.schema import UPGRADES, Upgrade
from ledger.stores.store import Store

NO_SECRET: Final = SecretSource()


def _sqlite(url: Any, secret: SecretSource) -> Database:
    from ledger.stores.sqlite import FileDatabase

    return FileDatabase(url, secret)


def _mysql(url: Any, secret: SecretSource) -> Database:
    from ledger.stores.mysql import ServerDatabase

    return ServerDatabase(url, secret)


# Drivers are imported when a ledger is opened: aiosqlite costs 77 ms, aiomysql 100.
_DATABASES: Final = {SqliteUrl: _sqlite, MysqlUrl: _mysql}


@asynccontextmanager
async def open_store(
    url: Url,
    secret: SecretSource = NO_SECRET,
    *,
    create: bool = False,
    schema: int = LEDGER_SCHEMA,
    upgrades: Sequence[Upgrade] = UPGRADES,
) -> AsyncIterator[Store]:
    """Open the ledger at `url`; with `create`, make it first if there is none.

    A ledger older than `schema` is brought forward by `upgrades`; a newer one can only be read.
    Raises StoreUnavailableError, with a hint, for what is missing, unreachable or no ledger.
    """
    store = Store(_DATABASES[type(url)](url, secret), schema=schema)
    try:
        await store.open(create=create, upgrades=upgrades)
        yield store
    finally:
        await store.aclose()
