"""One small fleet on either engine, behind one face: a folder, two tenants, a command line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.api import Ledger
from tests.cli.terminal import Terminal
from tests.programs import Ended
from tests.servers import Server, queries

ENGINES = ("sqlite", "mariadb")
WITH_MYSQL = (*ENGINES, pytest.param("mysql", marks=pytest.mark.mysql))


MakePlace = Callable[..., "Place"]


class Place:
    """Tenants `names[0]` and `names[1]` that follow the set `app`."""

    def __init__(
        self,
        engine: str,
        terminal: Terminal,
        server: Server | None = None,
        make_database: Callable[[Server], str] | None = None,
        *,
        head: str = "",
    ) -> None:
        self.engine = engine
        self.terminal = terminal
        self.folder = terminal.folder
        self.server = server
        if server is None or make_database is None:
            self.names = ["acme", "beta"]
            for name in self.names:
                self.run(name, "CREATE TABLE mine (id INTEGER PRIMARY KEY)")
            tenants = 'sqlite = "data/*.db"'
        else:
            self.names = sorted(make_database(server) for _ in range(2))
            for name in self.names:
                self.run(name, "CREATE TABLE mine (id INTEGER PRIMARY KEY)")
            url = f"mysql://{server.url.user}@{server.url.host}:{server.url.port}/"
            if server.url.unix_socket:
                url += f"?unix_socket={server.url.unix_socket}"
            tenants = f'mysql = "{url}"\ndatabases = {self.names!r}'
            if server.password:
                tenants += f'\npassword_command = ["printf", "%s", "{server.password}"]'
        # One set serves tenants with and without prefixes here: for these it is empty.
        tenants += '\nprefix = ""'
        terminal.write(
            "ledger.toml", f'migrations = "migrations/app"\n{head}\n[[tenants]]\n{tenants}\n'
        )

    def migration(self, name: str, text: str) -> Path:
        """Write a migration."""
        return self.terminal.write(f"migrations/app/{name}", text)

    def ok(self, *arguments: str) -> Ended:
        """Run a command that must end with 0."""
        return self.terminal.ok(*arguments)

    def ended(self, *arguments: str) -> Ended:
        """Run a command."""
        return self.terminal.run(*arguments)

    def open(self) -> Ledger:
        """The same from Python."""
        return Ledger.open(self.folder / "ledger.toml", actor="tester")

    def run(self, tenant: str, *statements: str) -> list[tuple[Any, ...]]:
        """Statements past the ledger; the last one's rows."""
        if self.engine == "sqlite":
            path = self.folder / "data" / f"{tenant}.db"
            path.parent.mkdir(exist_ok=True)
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                rows: list[tuple[Any, ...]] = []
                for statement in statements:
                    rows = database.execute(statement).fetchall()
                return rows
        assert self.server is not None
        return [tuple(row) for row in queries(self.server, statements, database=tenant)]

    def objects(self, tenant: str) -> set[str]:
        """Names of tables and views, the marker apart."""
        sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        if self.engine != "sqlite":
            sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        return {str(name) for (name,) in self.run(tenant, sql)} - {"ledger_marker"}

    def events(self, tenant: str, kind: str = "") -> list[dict[str, Any]]:
        """The tenant's events (of a type), as `history` prints them."""
        arguments = ["history", tenant, "--format", "jsonl"]
        return self.ok(*arguments, *(["--type", kind] if kind else [])).lines()
