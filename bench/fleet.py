"""Throw-away tenants: made fresh before every reading, looked at after it, gone in the end."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bench.options import Options
from bench.server import PASSWORD_ENV, Server
from bench.workloads import WORKLOADS, Workload
from ledger.drivers.url import MysqlUrl


class Fleet(Protocol):
    """Tenants of one engine. `targets` are paths or database names, as children get them."""

    engine: str
    workload: Workload
    targets: list[str]

    def fresh(self, count: int) -> list[str]:
        """The first `count` tenants as they are before the workload, and no others."""
        ...

    def check(self, count: int) -> None:
        """Raises WorkloadError unless each of the first `count` has what the workload makes."""
        ...

    def config(self) -> str:
        """The `[[tenants]]` table of our configuration."""
        ...


class WorkloadError(Exception):
    """A side did not do its work, so that its time means nothing."""


class SqliteFleet:
    """Files in `folder`, copied from one template."""

    engine = "sqlite"

    def __init__(self, folder: Path, count: int) -> None:
        self.workload = WORKLOADS["sqlite"]
        self.folder = folder
        self.template = folder.with_name(f"{folder.name}-template.db")
        self.targets = [str(folder / f"t{number:05}.db") for number in range(count)]
        with sqlite3.connect(self.template) as database:
            for statement in self.workload.base:
                database.execute(statement)
        database.close()

    def fresh(self, count: int) -> list[str]:
        """Copy the template over the tenants, and let the disk finish before anything is timed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for target in self.targets[:count]:
            shutil.copyfile(self.template, target)
        os.sync()
        return self.targets[:count]

    def check(self, count: int) -> None:
        """Look into every file."""
        for target in self.targets[:count]:
            self.check_one(target)

    def check_one(self, target: str) -> None:
        """Look into one file. Raises WorkloadError."""
        database = sqlite3.connect(target)
        found = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        columns = database.execute("SELECT name FROM pragma_table_info('assistants')")
        found |= {f"assistants.{name}" for (name,) in columns}
        database.close()
        _require(target, self.workload, found)

    def config(self) -> str:
        """A glob."""
        return f'[[tenants]]\nsqlite = "{self.folder}/*.db"\n'


class MysqlFleet:
    """Databases on one server that share a random prefix."""

    engine = "mysql"

    def __init__(self, server: Server, count: int) -> None:
        self.workload = WORKLOADS["mysql"]
        self.server = server
        self.prefix = f"bench_{secrets.token_hex(3)}_"
        self.targets = [f"{self.prefix}{number:05}" for number in range(count)]

    def fresh(self, count: int) -> list[str]:
        """Drop what is left and create the databases."""
        self.drop()
        self.server.each(
            f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
            for name in self.targets[:count]
        )
        return self.targets[:count]

    def drop(self) -> None:
        """Drop every database with our prefix, and no other."""
        self.server.each(f"DROP DATABASE `{name}`" for name in self.server.names(self.prefix))

    def check(self, count: int) -> None:
        """Look at all tables and views in one query."""
        found: dict[str, set[str]] = {name: set() for name in self.targets}
        rows = self.server.query(
            "SELECT table_schema, table_name FROM information_schema.tables"
            f" WHERE table_schema LIKE '{self.prefix}%'"
        )
        for database, table in rows:
            found.setdefault(database, set()).add(table)
        for target in self.targets[:count]:
            _require(target, self.workload, found[target])

    def config(self, at: MysqlUrl | None = None) -> str:
        """A LIKE pattern. `at` is another way to the server."""
        url = at or self.server.url
        address = str(url)
        if url.unix_socket:
            address += f"?unix_socket={url.unix_socket}"
        password = f'password_env = "{PASSWORD_ENV}"\n' if self.server.password else ""
        return f'[[tenants]]\nmysql = "{address}"\ndatabases = "{self.prefix}%"\n{password}'


def _require(target: str, workload: Workload, found: set[str]) -> None:
    missing = workload.expected - found
    if missing:
        raise WorkloadError(
            f"{target} lacks {', '.join(sorted(missing))} after workload {workload.name}"
        )


@contextmanager
def work_folder(options: Options) -> Iterator[Path]:
    """A folder of our own under `--dir`, removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-bench-", dir=options.dir)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def fleet_of(engine: str, count: int, folder: Path, options: Options) -> Iterator[Fleet]:
    """A fleet of `count` tenants, dropped in the end."""
    if engine == "sqlite":
        yield SqliteFleet(folder / "tenants", count)
        return
    fleet = MysqlFleet(Server.parse(options.server), count)
    try:
        yield fleet
    finally:
        fleet.drop()


def no_server(options: Options) -> str | None:
    """Why the MariaDB rows cannot be measured, or None."""
    server = Server.parse(options.server)
    if server.version() is not None:
        return None
    return f"no server answers at {server.url}; name one with --server or LEDGER_BENCH_SERVER"
