"""A database on a MySQL or MariaDB server for one test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pymysql

from ledger.drivers.application import Application
from ledger.drivers.url import MysqlUrl, Secret, SecretSource, parse_url
from ledger.engines.source import TenantSource
from ledger.errors import ConfigError

_CHARSET: Final = "utf8mb4"


class ThrowawayDatabase:
    """See engines.throwaway.Throwaway."""

    def __init__(self, url: MysqlUrl, secret: Secret | None, name: str) -> None:
        self.name = name
        self._url = url
        self._secret = secret
        self.source = TenantSource(
            source="ledger.testing",
            engine="mysql",
            kind="databases",
            url=msgspec.structs.replace(url, database=None),
            databases=(name,),
            secret=SecretSource(value=secret),
        )

    def query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        with closing(_connect(self._url, self._secret, self.name)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(sql, tuple(parameters) or None)
                rows = list(cursor.fetchall())
            connection.commit()
            return rows


@contextmanager
def throwaway(_: Path, server: str, __: Application | None) -> Iterator[ThrowawayDatabase]:
    """See engines.throwaway.Make; the database is dropped at the end."""
    url, secret = parse_url(server, source="--ledger-mysql")
    if not isinstance(url, MysqlUrl):
        raise ConfigError("--ledger-mysql is no server's URL", hint="Write mysql://USER@HOST:PORT.")
    name = f"ledger_test_{secrets.token_hex(6)}"
    _run(url, secret, f"CREATE DATABASE `{name}` CHARACTER SET {_CHARSET}")
    try:
        yield ThrowawayDatabase(url, secret, name)
    finally:
        _run(url, secret, f"DROP DATABASE IF EXISTS `{name}`")


def _run(url: MysqlUrl, secret: Secret | None, statement: str) -> None:
    with closing(_connect(url, secret, None)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _connect(url: MysqlUrl, secret: Secret | None, database: str | None) -> Any:
    return pymysql.connect(
        host=url.host,
        port=url.port,
        user=url.user,
        password=secret.reveal() if secret else "",
        database=database,
        unix_socket=url.unix_socket or None,
        charset=_CHARSET,
        connect_timeout=10,
    )
