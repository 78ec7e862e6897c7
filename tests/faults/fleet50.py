"""The campaign's fleet: 50 tenants of both engines under one ledger, and a model of what each must hold.

The model is plain arithmetic on the version a tenant is brought to, so that it shares
nothing with the product: `seen` counts every time that a step ran.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.faults.neighbours import Neighbours
from tests.faults.world import World, server_state, sqlite_state
from tests.servers import Server, connect, create_database

FIRST: Final = """\
CREATE TABLE {prefix}notes (id INTEGER PRIMARY KEY, words VARCHAR(40), seen BIGINT NOT NULL);
INSERT INTO {prefix}notes VALUES (1, 'one', 0), (2, 'two', 0), (3, 'three', 0);
-- migrate:down
DROP TABLE {prefix}notes;
"""
SECOND: Final = """\
UPDATE {prefix}notes SET seen = seen + 1;
ALTER TABLE {prefix}notes ADD COLUMN tags VARCHAR(40);
INSERT INTO {prefix}notes VALUES (4, 'four', 0, 'new');
CREATE TABLE {prefix}tags (id INTEGER PRIMARY KEY, note INTEGER);
-- migrate:down
DROP TABLE {prefix}tags;
UPDATE {prefix}notes SET seen = seen + 100;
DELETE FROM {prefix}notes WHERE id = 4;
ALTER TABLE {prefix}notes DROP COLUMN tags;
"""
SERVER_THIRD: Final = """\
-- migrate:up transaction:false
SELECT COUNT(*), MAX(id) INTO @notes, @last FROM {prefix}notes;
SET @words = (SELECT MIN(words) FROM {prefix}notes), sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES');
UPDATE {prefix}notes SET seen = seen + 1000000;
SET @counted = ROW_COUNT();
CREATE TABLE "{prefix}log" (id INTEGER PRIMARY KEY AUTO_INCREMENT, words VARCHAR(40));
INSERT INTO {prefix}log SELECT id, words FROM {prefix}notes;
INSERT INTO {prefix}log VALUES (8, CONCAT_WS(',', @notes, @last, @counted, ROW_COUNT(), @words));
INSERT INTO {prefix}log (words) VALUES (@words);
UPDATE {prefix}notes SET tags = tags;
UPDATE {prefix}log SET id = 9, "words" = CONCAT(words, '!') WHERE id = LAST_INSERT_ID();
-- migrate:down transaction:false
DROP TABLE {prefix}log;
UPDATE {prefix}notes SET seen = seen + 100000000;
"""
"""On servers steps read what earlier ones left in their connection, which a kill takes away."""
LEFT: Final[list[tuple[object, ...]]] = [(8, "4,4,4,4,four"), (9, "four!")]

SQLITE_THIRD: Final = """\
-- migrate:up transaction:false
PRAGMA foreign_keys = OFF;
UPDATE notes SET seen = seen + 1000000;
BEGIN;
CREATE TABLE log (id INTEGER PRIMARY KEY, words VARCHAR(40));
INSERT INTO log SELECT id, words FROM notes;
COMMIT;
VACUUM;
ALTER TABLE orders RENAME TO purchases;
ALTER TABLE purchases RENAME COLUMN customer TO client;
-- migrate:down transaction:false
ALTER TABLE purchases RENAME COLUMN client TO customer;
ALTER TABLE purchases RENAME TO orders;
PRAGMA auto_vacuum = INCREMENTAL;
VACUUM;
BEGIN;
DROP TABLE log;
UPDATE notes SET seen = seen + 100000000;
COMMIT;
"""
SHOP: Final = """\
CREATE TABLE customers (id INTEGER PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id));
INSERT INTO customers VALUES (1);
INSERT INTO orders VALUES (1, 1), (2, 77), (3, 78);
"""
"""What a SQLite tenant's application has made; two of the rows refer to nothing."""
CUSTOMERS: Final = [(1,)]
ORDERS: Final = [(1, 1), (2, 77), (3, 78)]

VERSIONS: Final = ("001", "002", "003")

SQLITE: Final = tuple(f"f{number:02}" for number in range(25))
DATABASES: Final = tuple(f"d{number:02}" for number in range(13))
PREFIXES: Final = tuple(f"p{number:02}" for number in range(12))
BESIDE: Final = PREFIXES
"""Tenants with other sites and another install beside them."""
TENANTS: Final = tuple(sorted(SQLITE + DATABASES + PREFIXES))


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant must hold: its version (0 to 3) and the counters of notes 1 to 3 and of note 4."""

    version: int = 0
    seen: int = 0
    fourth: int = 0

    def brought_to(self, goal: int) -> Held:
        """After each migration up or down to `goal` ran exactly once."""
        held = self
        while held.version < goal:
            held = held._up()
        while held.version > goal:
            held = held._down()
        return held

    def _up(self) -> Held:
        if self.version == 0:
            return Held(version=1)
        if self.version == 1:
            return Held(version=2, seen=self.seen + 1)
        return Held(version=3, seen=self.seen + 1_000_000, fourth=self.fourth + 1_000_000)

    def _down(self) -> Held:
        if self.version == 3:
            return Held(version=2, seen=self.seen + 10**8, fourth=self.fourth + 10**8)
        if self.version == 2:
            return Held(version=1, seen=self.seen + 100)
        return Held()

    def rows(self, tenant: str) -> dict[str, list[tuple[object, ...]]]:
        """Table -> rows."""
        if self.version == 0:
            return {}
        words = ("one", "two", "three", "four")
        ids = range(1, 5 if self.version > 1 else 4)
        notes: list[tuple[object, ...]] = [
            (one, words[one - 1], self.fourth if one == 4 else self.seen) for one in ids
        ]
        if self.version == 1:
            return {"notes": notes}
        notes = [(*row, "new" if row[0] == 4 else None) for row in notes]
        found: dict[str, list[tuple[object, ...]]] = {"notes": notes, "tags": []}
        if self.version == 3:
            found["log"] = [row[:2] for row in notes] + ([] if tenant in SQLITE else LEFT)
        return found


class Fleet(World):
    """The folder, the ledger and the tenants. `port` is the proxy's; `ledger` is where the ledger lives."""

    tenants = TENANTS

    def __init__(self, root: Path, server: Server, *, port: int, ledger: str) -> None:
        files = {"001_notes.sql": FIRST, "002_tags.sql": SECOND, "003_log.sql": SERVER_THIRD}
        super().__init__(root, files)
        (root / "sqlite").mkdir()
        for name, text in (files | {"003_log.sql": SQLITE_THIRD}).items():
            (root / "sqlite" / name).write_text(text)
        self.server = server
        self.databases = {name: create_database(server, name) for name in DATABASES}
        self.shared = create_database(server, "shared")
        (root / "data").mkdir()
        for name in SQLITE:
            with closing(sqlite3.connect(self.file(name))) as database:
                wal = int(name[1:]) % 2
                database.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
                database.executescript(SHOP)
        here = f"mysql://{server.url.user}@127.0.0.1:{port}"
        url = "sqlite:///ledger.db"
        if ledger == "mariadb":
            url = f"{here}/{create_database(server, 'ledger')}"
        tenants = ['[[tenants]]\nsqlite = "data/*.db"\nmigrations = "sqlite"\nprefix = ""']
        tenants += [
            f'[[tenants]]\nmysql = "{here}"\ndatabases = ["{database}"]\nname = "{name}"\nprefix = ""'
            for name, database in self.databases.items()
        ]
        prefixes = ", ".join(f'"{name}_"' for name in PREFIXES)
        self.neighbours = Neighbours(server, self.shared, [f"{name}_" for name in BESIDE])
        tenants.append(
            f'[[tenants]]\nmysql = "{here}/{self.shared}"\nprefixes = [{prefixes}]\n'
            + self.neighbours.declared()
        )
        for name, backup in (("ledger.toml", "never"), ("backup.toml", "always")):
            text = f'migrations = "migrations"\nurl = "{url}"\nbackup = "{backup}"\n'
            # Worker processes on one ledger's way with backups, on the other's without.
            workers = int((ledger == "mariadb") == (backup == "always"))
            text += f"parallel = 8\nlease_seconds = 3\nworkers = {workers}\n"
            (root / name).write_text(text + "\n".join(tenants))

    def file(self, tenant: str) -> Path:
        """A SQLite tenant's file."""
        return self.root / "data" / f"{tenant}.db"

    def half_written(self, tenant: str) -> list[Path]:
        """What a backup of it that was not finished has left."""
        return list(self.root.glob(f"backups/{tenant}/.*"))

    def rebuild_tables(self) -> None:
        """MariaDB keeps a column that was dropped at once, until a table has hundreds and refuses more."""
        places = [(name, "notes") for name in self.databases.values()]
        places += [(self.shared, f"{name}_notes") for name in PREFIXES]
        with connect(self.server) as connection, connection.cursor() as cursor:
            for database, table in places:
                cursor.execute(f"ALTER TABLE `{database}`.`{table}` FORCE")

    def found(self, tenants: tuple[str, ...]) -> dict[str, dict[str, list[Any]]]:
        """Tenant -> table -> rows, as they are."""
        found: dict[str, dict[str, list[Any]]] = {}
        with connect(self.server) as connection:
            for name in tenants:
                if name in SQLITE:
                    state = sqlite_state(self.file(name))
                elif name in PREFIXES:
                    state = server_state(connection, self.shared, f"{name}_")
                else:
                    state = server_state(connection, self.databases[name], "")
                found[name] = {table: rows for table, (_, rows) in state.items()}
                if name in SQLITE:
                    _leave_out_the_shop(found[name])
        return found


def _leave_out_the_shop(tables: dict[str, list[Any]]) -> None:
    """The application's tables are there once and whole, the one under the name of its version."""
    name = "purchases" if "log" in tables else "orders"
    assert (tables.pop("customers"), tables.pop(name)) == (CUSTOMERS, ORDERS), tables
