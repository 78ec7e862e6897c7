"""The ledger's own database: one store, and a module per kind of database, found by its name."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ledger.drivers.url import SecretSource, Url
from ledger.stores.base import LEDGER_SCHEMA, Database
from ledger.stores.schema import UPGRADES, Upgrade
from ledger.stores.store import Store

NO_SECRET: Final = SecretSource()


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
    # Its driver is imported only now: aiosqlite costs 77 ms, aiomysql 100.
    part = importlib.import_module(f"ledger.stores.{url.engine}")
    database: Database = part.make_database(url, secret)
    store = Store(database, schema=schema)
    try:
        await store.open(create=create, upgrades=upgrades)
        yield store
    finally:
        await store.aclose()
