"""The ledger's own database: one protocol, one file per kind of database, one lookup table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from ledger.drivers.url import MysqlUrl, SecretSource, SqliteUrl, Url
from ledger.stores.base import Store

NO_SECRET: Final = SecretSource()

Opener = Callable[..., AbstractAsyncContextManager[Store]]


def _sqlite(url: SqliteUrl, _: SecretSource, *, create: bool) -> AbstractAsyncContextManager[Store]:
    from ledger.stores.sqlite import open_sqlite

    return open_sqlite(url, create=create)


def _mysql(
    url: MysqlUrl, secret: SecretSource, *, create: bool
) -> AbstractAsyncContextManager[Store]:
    from ledger.stores.mysql import open_mysql

    return open_mysql(url, secret, create=create)


# Drivers are imported by the one who opens: aiosqlite costs 77 ms, aiomysql 100.
_OPENERS: dict[type, Opener] = {SqliteUrl: _sqlite, MysqlUrl: _mysql}


def open_store(
    url: Url, secret: SecretSource = NO_SECRET, *, create: bool = False
) -> AbstractAsyncContextManager[Store]:
    """Open the ledger at `url`; with `create`, make it first if there is none.

    An older ledger's tables are brought forward, a newer ledger can only be read.
    Raises StoreUnavailableError, with a hint, for what is missing, unreachable or no ledger.
    """
    return _OPENERS[type(url)](url, secret, create=create)
