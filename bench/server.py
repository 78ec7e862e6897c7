"""The MariaDB or MySQL server that the bench uses: one address, many throw-away databases."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pymysql

from ledger.drivers.url import MysqlUrl, parse_url

PASSWORD_ENV = "LEDGER_BENCH_PASSWORD"
"""How the password reaches children and our configuration; never on a command line."""

ADMIN_CONNECTIONS = 4


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """An address whose account may create and drop databases."""

    url: MysqlUrl

    @classmethod
    def parse(cls, text: str) -> Server:
        """Read `--server`. Raises ConfigError."""
        url, secret = parse_url(text, source="--server")
        if not isinstance(url, MysqlUrl):
            raise SystemExit("--server must be a mysql:// URL")
        if secret is not None:
            os.environ[PASSWORD_ENV] = secret.reveal()
        return cls(url=url)

    @property
    def password(self) -> str:
        """From the URL or from LEDGER_BENCH_PASSWORD; empty if there is none."""
        return os.environ.get(PASSWORD_ENV, "")

    def connect(self) -> pymysql.Connection[Any]:
        """A plain autocommit connection."""
        return pymysql.connect(
            host=self.url.host,
            port=self.url.port,
            unix_socket=self.url.unix_socket,
            user=self.url.user,
            password=self.password,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=5,
        )

    def query(self, sql: str) -> tuple[tuple[Any, ...], ...]:
        """One statement's rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return tuple(cursor.fetchall())

    def version(self) -> str | None:
        """The server's version, or None if nothing answers there."""
        try:
            rows = self.query("SELECT version()")
        except pymysql.err.OperationalError:
            return None
        version = str(rows[0][0])
        return version if "MariaDB" in version else f"MySQL {version}"

    def each(self, statements: Iterable[str]) -> None:
        """Run independent statements, a few connections at once."""
        waiting = list(statements)
        shares = [waiting[k::ADMIN_CONNECTIONS] for k in range(ADMIN_CONNECTIONS)]

        def run(share: list[str]) -> None:
            with self.connect() as connection, connection.cursor() as cursor:
                for statement in share:
                    cursor.execute(statement)

        with ThreadPoolExecutor(ADMIN_CONNECTIONS) as pool:
            list(pool.map(run, [share for share in shares if share]))

    def names(self, prefix: str) -> list[str]:
        """Databases that start with `prefix`."""
        return sorted(
            str(name) for (name,) in self.query("SHOW DATABASES") if name.startswith(prefix)
        )

    def orders(self) -> dict[str, Any]:
        """The address for `bench.child`; the password goes by environment."""
        return {
            "host": self.url.host,
            "port": self.url.port,
            "user": self.url.user,
            "unix_socket": self.url.unix_socket,
        }
