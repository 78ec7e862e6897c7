"""A small fleet on disk, for tests that go through `Ledger`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ledger.api import Ledger
from ledger.events import Recorded

BASE = """\
-- step: Make notes
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
CREATE INDEX notes_text ON notes(text);
-- migrate:down
DROP TABLE notes;
-- migrate:verify
-- check: Notes are there
SELECT count(*) = 1 FROM sqlite_master WHERE name = 'notes';
"""
TAGS = """\
-- step: Add tags
-- skip-if: column notes.tags
ALTER TABLE notes ADD COLUMN tags TEXT;
INSERT INTO notes (text, tags) VALUES ('hello', 'a');
-- migrate:down
DELETE FROM notes WHERE text = 'hello';
ALTER TABLE notes DROP COLUMN tags;
"""


class Fleet:
    """A folder with a configuration, migrations and SQLite tenants `t0`, `t1`, …"""

    def __init__(self, root: Path, *, tenants: int = 3, extra: str = "") -> None:
        self.root = root
        self.migrations = root / "migrations"
        self.migrations.mkdir(parents=True)
        (root / "data").mkdir()
        for number in range(tenants):
            with closing(sqlite3.connect(self.tenant(f"t{number}"))) as database:
                database.execute("PRAGMA user_version = 1")
        self.write("001_notes.sql", BASE)
        self.config = root / "ledger.toml"
        self.config.write_text(
            f'url = "sqlite:///ledger.db"\nmigrations = "migrations"\n{extra}\n'
            '[[tenants]]\nsqlite = "data/*.db"\n'
        )

    def tenant(self, name: str) -> Path:
        """A tenant's file."""
        return self.root / "data" / f"{name}.db"

    def write(self, name: str, text: str) -> Path:
        """Write a migration file."""
        path = self.migrations / name
        path.write_text(text)
        return path

    def open(self) -> Ledger:
        """The ledger, by its configuration file."""
        return Ledger.open(self.config, actor="tester")

    def query(self, name: str, sql: str) -> list[tuple[object, ...]]:
        """Rows from a tenant, by the standard library's own driver."""
        with closing(sqlite3.connect(self.tenant(name))) as database:
            return database.execute(sql).fetchall()

    def run(self, name: str, sql: str) -> None:
        """Change a tenant behind the ledger's back."""
        with closing(sqlite3.connect(self.tenant(name))) as database:
            database.executescript(sql)

    def schema(self, name: str) -> list[tuple[object, ...]]:
        """The tenant's own objects as SQLite keeps them."""
        sql = (
            "SELECT type, name, sql FROM sqlite_master"
            " WHERE name NOT LIKE 'ledger_marker%' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        return self.query(name, sql)

    async def events(self, tenant: str) -> list[Recorded]:
        """The tenant's history."""
        return [row async for row in self.open().history(tenant)]


def types(rows: Iterable[Recorded]) -> list[str]:
    """The events' types, in order."""
    return [row.type for row in rows]
