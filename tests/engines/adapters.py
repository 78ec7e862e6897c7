"""What the engine contract suite needs to know of each database: one small adapter each.

An adapter gives fresh, empty tenants, and looks at them past the engine, through
the plain driver. The suite's own SQL is written so that every database takes it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from ledger.dialects.steps import DialectName
from ledger.drivers.url import SqliteUrl
from ledger.engines import engine_for
from ledger.engines.base import Engine, Target
from tests.conftest import MakeDatabase
from tests.servers import Server, queries, query

Row = tuple[object, ...]


class Adapter(Protocol):
    """One database's side of the contract suite.

    `slow_statement` keeps the server (or the thread) busy for many seconds, and
    changes the table `items` if it is let. `backup_suffix` ends a backup's name.
    """

    name: str
    dialect: DialectName
    slow_statement: str
    backup_suffix: str

    def engine(self) -> Engine:
        """A new engine; the suite closes it."""
        ...

    def target(self) -> Target:
        """A fresh, empty tenant."""
        ...

    def run(self, target: Target, *statements: str) -> None:
        """Change the tenant behind the engine's back."""
        ...

    def rows(self, target: Target, sql: str) -> list[Row]:
        """Look at the tenant past the engine."""
        ...

    def tables(self, target: Target) -> set[str]:
        """The tenant's tables, the marker apart."""
        ...


class SqliteAdapter:
    """Tenants as files in a folder of the test's own."""

    name = "sqlite"
    dialect: DialectName = "sqlite"
    backup_suffix = ".sqlite"
    slow_statement = (
        "INSERT INTO items (name) WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
        "SELECT 'slow' FROM n WHERE i < 0"
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def engine(self) -> Engine:
        """A new engine."""
        return engine_for("sqlite")

    def target(self) -> Target:
        """An empty file."""
        self._made += 1
        path = self._folder / f"tenant_{self._made}.db"
        path.touch()
        return Target(
            name=path.stem, engine="sqlite", url=SqliteUrl(path=str(path)), source="the test"
        )

    def run(self, target: Target, *statements: str) -> None:
        """Each statement commits on its own."""
        with closing(_open(target)) as database:
            for statement in statements:
                database.execute(statement)

    def rows(self, target: Target, sql: str) -> list[Row]:
        """All rows."""
        with closing(_open(target)) as database:
            return database.execute(sql).fetchall()

    def tables(self, target: Target) -> set[str]:
        """From sqlite_master."""
        rows = self.rows(target, "SELECT name FROM sqlite_master WHERE type = 'table'")
        return {str(name) for (name,) in rows if name != "ledger_marker"}


def _open(target: Target) -> sqlite3.Connection:
    assert isinstance(target.url, SqliteUrl)
    return sqlite3.connect(target.url.path, isolation_level=None)


class MysqlAdapter:
    """Tenants as databases of a real server."""

    dialect: DialectName = "mysql"
    backup_suffix = ".sql.zst"
    slow_statement = "INSERT INTO items (id, name) SELECT 1, SLEEP(100)"

    def __init__(self, server: Server, make_database: MakeDatabase) -> None:
        self.name: str = server.flavor
        self._server = server
        self._make_database = make_database

    def engine(self) -> Engine:
        """A new engine."""
        return engine_for("mysql")

    def target(self) -> Target:
        """An empty database."""
        name = self._make_database(self._server)
        return Target(
            name=name,
            engine="mysql",
            url=self._server.url_for(name),
            secret=self._server.secret,
            source="the test",
        )

    def run(self, target: Target, *statements: str) -> None:
        """Each statement commits on its own."""
        queries(self._server, statements, database=target.name)

    def rows(self, target: Target, sql: str) -> list[Row]:
        """All rows."""
        return list(query(self._server, sql, database=target.name))

    def tables(self, target: Target) -> set[str]:
        """From SHOW TABLES."""
        return {str(name) for (name,) in self.rows(target, "SHOW TABLES")} - {"ledger_marker"}


ADAPTERS = [
    pytest.param("sqlite"),
    pytest.param("mariadb"),
    pytest.param("mysql", marks=pytest.mark.mysql),
]
"""The names that `make_adapter` knows; a third database is one line here and one there."""


def make_adapter(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    """The adapter of a name; servers and databases come from the fixtures of tests/conftest.py."""
    if name == "sqlite":
        return SqliteAdapter(tmp_path)
    if name in ("mariadb", "mysql"):
        server: Server = request.getfixturevalue(name)
        return MysqlAdapter(server, request.getfixturevalue("make_database"))
    raise KeyError(name)
