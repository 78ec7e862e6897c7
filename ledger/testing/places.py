"""Where a throw-away tenant lives: a new file, or a new database on a server.

Invariant: a database is made under a name nobody has, and dropped at the end.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import pymysql

from ledger.config.model import TenantSource
from ledger.drivers.application import Application, equip
from ledger.drivers.url import MysqlUrl, Secret, SecretSource, parse_url
from ledger.errors import ConfigError

_CHARSET = "utf8mb4"


class Place(Protocol):
    """One tenant's database."""

    name: str
    engine: Literal["sqlite", "mysql"]

    def source(self) -> TenantSource:
        """As the configuration would name it."""
        ...

    def query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run one statement, commit, and give its rows."""
        ...


class SqlitePlace:
    """A file."""

    engine: Literal["sqlite", "mysql"] = "sqlite"

    def __init__(self, folder: Path, application: Application | None = None) -> None:
        self.name = "tenant"
        self.application = application
        self.path = folder / "tenant.db"
        self.path.touch()

    def source(self) -> TenantSource:
        """As the configuration would name it; the folder's own brackets are no pattern."""
        pattern = "".join(f"[{char}]" if char in "*?[" else char for char in str(self.path))
        return TenantSource(
            source="ledger.testing", kind="sqlite", glob=pattern, application=self.application
        )

    def query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """See Place."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            if self.application is not None:
                equip(database, self.application)
            return database.execute(sql, tuple(parameters)).fetchall()


class MysqlPlace:
    """A database on the server that the option, the ini file or the environment names."""

    engine: Literal["sqlite", "mysql"] = "mysql"

    def __init__(self, url: MysqlUrl, secret: Secret | None, name: str) -> None:
        self.name = name
        self.url = url
        self._secret = secret

    def source(self) -> TenantSource:
        """See Place."""
        return TenantSource(
            source="ledger.testing",
            kind="databases",
            url=msgspec.structs.replace(self.url, database=None),
            databases=(self.name,),
            secret=SecretSource(value=self._secret),
        )

    def query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """See Place."""
        with closing(connect(self.url, self._secret, self.name)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(sql, tuple(parameters) or None)
                rows = list(cursor.fetchall())
            connection.commit()
            return rows


def connect(url: MysqlUrl, secret: Secret | None, database: str | None) -> Any:
    """A plain connection to the test server."""
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


@contextmanager
def mysql_place(text: str) -> Iterator[MysqlPlace]:
    """A new database on the server of this URL, dropped at the end. Raises ConfigError."""
    url, secret = parse_url(text, source="--ledger-mysql")
    if not isinstance(url, MysqlUrl):
        raise ConfigError("--ledger-mysql is no server's URL", hint="Write mysql://USER@HOST:PORT.")
    name = f"ledger_test_{secrets.token_hex(6)}"
    _run(url, secret, f"CREATE DATABASE `{name}` CHARACTER SET {_CHARSET}")
    try:
        yield MysqlPlace(url, secret, name)
    finally:
        _run(url, secret, f"DROP DATABASE IF EXISTS `{name}`")


def _run(url: MysqlUrl, secret: Secret | None, statement: str) -> None:
    with closing(connect(url, secret, None)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
