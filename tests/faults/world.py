"""A small fleet to hurt, and what must hold after the same command was simply typed again.

A world is a folder with a configuration, migrations, a ledger and tenants: SQLite
files with the ledger in a file, or databases and prefixes on a server with the
ledger on that server too. `undisturbed` is what it must look like in the end.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import pymysql

from tests import programs
from tests.faults import commands
from tests.faults.neighbours import Neighbours, is_a_neighbours
from tests.programs import Ended, Program
from tests.servers import Server, connect, statements

FIRST: Final = """\
-- step: Make notes
CREATE TABLE {prefix}notes (id INTEGER PRIMARY KEY, words VARCHAR(40), seen INTEGER NOT NULL);
-- step: First notes
INSERT INTO {prefix}notes VALUES (1, 'one', 0), (2, 'two', 0), (3, 'three', 0);
-- migrate:down
DROP TABLE {prefix}notes;
"""
SECOND: Final = """\
-- step: Count once
UPDATE {prefix}notes SET seen = seen + 1;
-- step: Add tags
ALTER TABLE {prefix}notes ADD COLUMN tags VARCHAR(40);
-- step: One more note
INSERT INTO {prefix}notes VALUES (4, 'four', 10, 'new');
-- step: Make tags
CREATE TABLE {prefix}tags (id INTEGER PRIMARY KEY, note INTEGER);
-- migrate:down
DROP TABLE {prefix}tags;
UPDATE {prefix}notes SET seen = seen + 100;
ALTER TABLE {prefix}notes DROP COLUMN tags;
DELETE FROM {prefix}notes WHERE id = 4;
-- migrate:verify
-- check: Counted once
SELECT count(*) = 3 FROM {prefix}notes WHERE seen = 1;
"""
THIRD: Final = """\
-- migrate:up transaction:false
-- step: Count again
UPDATE {prefix}notes SET seen = seen + 1000;
-- step: Make log
CREATE TABLE {prefix}log (id INTEGER PRIMARY KEY, words VARCHAR(40));
-- step: Fill log
INSERT INTO {prefix}log SELECT id, words FROM {prefix}notes;
-- migrate:down transaction:false
DROP TABLE {prefix}log;
UPDATE {prefix}notes SET seen = seen + 10000;
"""
MIGRATIONS: Final = {"001_notes.sql": FIRST, "002_tags.sql": SECOND, "003_log.sql": THIRD}

REMEMBERED: Final = """\
-- step: Remember the last note
SELECT MAX(id) INTO @last FROM {prefix}notes;
-- step: Count words
UPDATE {prefix}log SET words = CONCAT(words, ROW_COUNT());
-- step: Link to the last note
INSERT INTO {prefix}log VALUES (@last + 10, CONCAT('of ', @last, ' and ', ROW_COUNT()));
"""
SERVER_MIGRATIONS: Final = MIGRATIONS | {
    "003_log.sql": THIRD.replace("-- migrate:down", f"{REMEMBERED}-- migrate:down")
}
"""What one statement leaves in the connection, and another one reads."""

OUTSIDE: Final = "-- step: No transaction takes this one\nVACUUM;\n"
SQLITE_MIGRATIONS: Final = MIGRATIONS | {
    "003_log.sql": THIRD.replace("-- migrate:down", f"{OUTSIDE}-- migrate:down") + OUTSIDE
}

State = dict[str, dict[str, Any]]
"""Tenant -> table -> its definition and rows, names of databases and prefixes taken out."""


LOOKING: Final = ("status", "history", "verify", "runs")
"""Commands that change nothing."""


class World:
    """One fleet in a folder of its own. `tenants` are the names; subclasses know the databases.

    `at_end` holds what ends the world's processes: none outlives its test.
    """

    tenants: tuple[str, ...] = ()

    def __init__(self, root: Path, migrations: Mapping[str, str] = MIGRATIONS) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.at_end = ExitStack()
        (root / "migrations").mkdir(parents=True)
        for name, text in migrations.items():
            (root / "migrations" / name).write_text(text)

    def configure(self, head: str, tenants: str) -> None:
        """Write the configuration."""
        (self.root / "ledger.toml").write_text(f'migrations = "migrations"\n{head}\n{tenants}')

    def start(self, *arguments: str, **how: Any) -> Program:
        """Start a command; see commands.start."""
        how["environment"] = self.environment | how.get("environment", {})
        running = commands.start(self.root, *arguments, **how)
        self.at_end.callback(running.end)
        return running

    def end(self) -> None:
        """End every process that was started here and has not ended, also a stopped one."""
        self.at_end.close()

    def run(self, *arguments: str, **how: Any) -> Ended:
        """Run a command to its end; in this process if it only looks, and nothing is done to it.

        Not in a thread of the campaign: folder, environment and signals are the process's.
        """
        alone = threading.current_thread() is threading.main_thread()
        if alone and arguments[0] in LOOKING and not how and "--rebuild" not in arguments:
            return programs.here(*arguments, cwd=self.root, environment=self.environment)
        return self.start(*arguments, **how).wait()

    def ok(self, *arguments: str, **how: Any) -> Ended:
        """Run a command that must succeed."""
        ended = self.run(*arguments, **how)
        assert ended.code == 0, ended
        return ended

    def state(self) -> State:
        """What every tenant holds, the marker apart."""
        raise NotImplementedError

    def sql(self, tenant: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in the tenant's database behind the product's back; the last one's rows."""
        raise NotImplementedError

    def history(self, *arguments: str) -> list[dict[str, Any]]:
        """The recorded events."""
        return self.ok("history", "--format", "jsonl", *arguments).lines()

    def check(self, expected: State | None, versions: Sequence[str]) -> None:
        """All that must hold once a command has converged: nothing twice, nothing lost, nothing held."""
        if expected is not None:
            assert self.state() == expected
        rows = self.check_ledger(versions)
        assert [row["lock"] for row in rows] == [None] * len(self.tenants)

    def check_ledger(self, versions: Sequence[str]) -> list[dict[str, Any]]:
        """The ledger alone: `verify` is clean, every step recorded once, no temporary backup left.

        What `status` says of the tenants.
        """
        self.ok("verify")
        rows: list[dict[str, Any]] = self.ok("status", "--format", "json").json()["tenants"]
        for row in rows:
            assert row["applied"] == list(versions), row
            assert row["state"] in ("current", "pending", "new"), row
        StepsOnce().feed(self.history())
        hidden = [path.name for path in self.root.glob("backups/*/.*")]
        assert hidden == []
        return rows

    def check_nothing_to_do(self) -> None:
        """The next migrate does nothing and records nothing."""
        before = self.ok("status", "--format", "json").json()["ledger"]
        self.ok("migrate", "--all-tenants")
        assert self.ok("status", "--format", "json").json()["ledger"] == before


class StepsOnce:
    """Between two ends of a migration on a tenant, each of its steps is recorded exactly once."""

    def __init__(self) -> None:
        self.seq = 0
        self._seen: dict[tuple[str, str, str, str], list[int]] = {}

    def feed(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Events in seq order; those that were fed already are left out."""
        for event in events:
            if event["seq"] > self.seq:
                self.seq = event["seq"]
                self._take(str(event["tenant"]), event["type"], event["body"], self.seq)

    def _take(self, tenant: str, kind: str, body: Mapping[str, Any], seq: int) -> None:
        if kind in ("step_applied", "step_skipped"):
            key = (tenant, body["set"], body["version"], body.get("direction", "up"))
            steps = self._seen.setdefault(key, [])
            assert body["step"] not in steps, f"{key}: {steps}, again {body['step']} at {seq}"
            steps.append(body["step"])
        elif kind in ("completed", "rolled_back"):
            ref = body["migration"]
            direction = "up" if kind == "completed" else "down"
            steps = self._seen.pop((tenant, ref["set"], ref["version"], direction), [])
            assert steps == list(range(1, len(steps) + 1)), f"{tenant} {ref}: {steps} at {seq}"
            assert steps, f"{tenant} {ref}: ended without a step at {seq}"
        elif kind in ("restored", "reset") or body.get("kind") == "regressed":
            for key in [key for key in self._seen if key[0] == tenant]:
                del self._seen[key]


class SqliteWorld(World):
    """Two tenants in files, the ledger in a file."""

    def __init__(
        self,
        root: Path,
        *,
        tenants: Sequence[str] = ("a", "b"),
        head: str = "",
        migrations: Mapping[str, str] = SQLITE_MIGRATIONS,
    ) -> None:
        super().__init__(root, migrations)
        self.tenants = tuple(tenants)
        (root / "data").mkdir()
        for name in tenants:
            with closing(sqlite3.connect(self.file(name))) as database:
                database.execute("PRAGMA user_version = 1")
        self.configure(
            f'url = "sqlite:///ledger.db"\n{head}', '[[tenants]]\nsqlite = "data/*.db"\nprefix = ""'
        )

    def file(self, tenant: str) -> Path:
        """The tenant's file."""
        return self.root / "data" / f"{tenant}.db"

    def sql(self, tenant: str, *statements: str) -> list[tuple[Any, ...]]:
        """By sqlite3."""
        return sqlite_sql(self.file(tenant), *statements)

    def ledger_sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """The same in the ledger's own file."""
        return sqlite_sql(self.root / "ledger.db", *statements)

    def state(self) -> State:
        """By sqlite3 itself."""
        return {name: sqlite_state(self.file(name)) for name in self.tenants}


def sqlite_state(path: Path) -> dict[str, Any]:
    """Each object's definition and rows, the marker apart."""
    found = {}
    for name, text in sqlite_sql(
        path,
        "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'ledger_marker%'"
        " AND name NOT LIKE 'sqlite_%' ORDER BY name",
    ):
        rows = []
        if str(text).upper().startswith("CREATE TABLE"):
            rows = sorted(sqlite_sql(path, f'SELECT * FROM "{name}"'), key=str)
        found[name] = (text, rows)
    return found


def sqlite_sql(path: Path, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a file in autocommit mode; the last one's rows."""
    rows: list[tuple[Any, ...]] = []
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
        for statement in statements:
            rows = database.execute(statement).fetchall()
    return rows


class ServerWorld(World):
    """A tenant that is a database, two that are prefixes in another; the ledger on the same server.

    `databases` are three names: of the ledger, of the tenant, of the prefixes.
    `port` is where the product is told the server listens (a proxy's, say).
    """

    tenants = ("p1", "p2", "whole")

    def __init__(
        self,
        root: Path,
        server: Server,
        databases: Sequence[str],
        *,
        head: str = "",
        port: int | None = None,
        migrations: Mapping[str, str] = SERVER_MIGRATIONS,
        local_ledger: bool = False,
    ) -> None:
        super().__init__(root, migrations)
        self.server = server
        self.ledger, self.whole, self.shared = databases
        self.neighbours = Neighbours(server, self.shared, ["p1_", "p2_"])
        self.url = f"mysql://{server.url.user}@127.0.0.1:{port or server.url.port}"
        self.environment = {"FAULTS_PASSWORD": server.password}
        password = 'password_env = "FAULTS_PASSWORD"\n' if server.password else ""
        where = 'url = "sqlite:///ledger.db"\n'
        if not local_ledger:
            where = f'url = "{self.url}/{self.ledger}"\n{password}'
        self.configure(
            f"{where}{head}",
            f'[[tenants]]\nmysql = "{self.url}"\ndatabases = ["{self.whole}"]\n'
            f'name = "whole"\nprefix = ""\n{password}\n'
            f'[[tenants]]\nmysql = "{self.url}/{self.shared}"\nprefixes = ["p1_", "p2_"]\n'
            f"{self.neighbours.declared()}{password}",
        )

    def check(self, expected: State | None, versions: Sequence[str]) -> None:
        """And nothing was done to what lies beside the prefixes."""
        super().check(expected, versions)
        self.neighbours.check()
        self.neighbours.write()

    def place(self, tenant: str) -> tuple[str, str]:
        """The tenant's database and prefix."""
        return (self.whole, "") if tenant == "whole" else (self.shared, f"{tenant}_")

    def sql(self, tenant: str, *statements: str) -> list[tuple[Any, ...]]:
        """By PyMySQL."""
        return self._sql(self.place(tenant)[0], *statements)

    def ledger_sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """The same in the ledger's own database."""
        return self._sql(self.ledger, *statements)

    def running(self, start: str) -> list[int]:
        """The connections to the world's databases whose statement begins so."""
        return statements(self.server, (self.whole, self.shared), start)

    def _sql(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        with connect(self.server, database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def state(self) -> State:
        """By PyMySQL."""
        with connect(self.server) as connection:
            return {name: server_state(connection, *self.place(name)) for name in self.tenants}


def server_state(connection: pymysql.Connection[Any], database: str, prefix: str) -> dict[str, Any]:
    """Each table's definition and rows, the marker apart; the prefix is taken out."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(f"USE `{database}`")
        cursor.execute("SHOW TABLES")
        for (name,) in sorted(cursor.fetchall()):
            if not name.startswith(prefix) or name.endswith("ledger_marker"):
                continue
            if prefix and is_a_neighbours(name.removeprefix(prefix)):
                continue
            cursor.execute(f"SHOW CREATE TABLE `{name}`")
            text = re.sub(r" AUTO_INCREMENT=\d+", "", cursor.fetchall()[0][1])
            cursor.execute(f"SELECT * FROM `{name}`")
            rows = sorted(cursor.fetchall(), key=str)
            found[name.removeprefix(prefix)] = (text.replace(f"`{prefix}", "`"), rows)
    return found
