"""A process of its own that works on a SQLite tenant, to be killed, limited or stripped of rights.

Its arguments are ACTION DATABASE FOLDER. It prints one JSON line: the steps that landed and
were recovered, or the error's class, code and hint.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import sys
from pathlib import Path
from typing import Any

import anyio

from ledger.drivers.url import SqliteUrl
from ledger.engines.base import Target
from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import LedgerError
from tests import programs
from tests.engines.work import LEDGER, Journal, check, work
from tests.programs import Ended

STEPS = (
    "ALTER TABLE items ADD COLUMN category TEXT",
    "UPDATE items SET category = 'of ' || name",
    "INSERT INTO items (name) VALUES ('three')",
    "CREATE INDEX items_category ON items (category)",
)
BIG = "INSERT INTO items (name) SELECT zeroblob(4000) FROM pragma_table_xinfo('items'), items"
NOBODY = 65534


def target_for(path: Path, **more: Any) -> Target:
    """A tenant that is this file."""
    fields: dict[str, Any] = {
        "name": path.stem,
        "engine": "sqlite",
        "url": SqliteUrl(path=str(path)),
        "source": "ledger.toml",
    }
    return Target(**(fields | more))


def make_items(path: Path, *, journal_mode: str = "delete", page_size: int = 4096) -> None:
    """A tenant with a table of two rows."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA page_size = {page_size}")
    database.execute(f"PRAGMA journal_mode = {journal_mode}")
    database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
    database.execute("INSERT INTO items (name) VALUES ('one'), ('two')")
    database.close()


def run(action: str, path: Path, folder: Path | None = None, *, failpoint: str = "") -> Ended:
    """Run an action in a child process and wait for it."""
    return programs.run(
        "tests.engines.sqlite_child",
        action,
        str(path),
        str(folder or path.parent),
        environment={"LEDGER_FAILPOINT": failpoint},
    )


def answer(done: Ended) -> dict[str, Any]:
    """What the child printed."""
    assert done.out, done.err
    found: dict[str, Any] = done.json()
    return found


async def act(action: str, path: Path, folder: Path) -> dict[str, Any]:
    """One action; its outcome as values."""
    if os.environ.get("TEST_AS_NOBODY") and os.geteuid() == 0:
        # Only now, with all modules loaded: nobody may not read them everywhere.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    engine = SqliteEngine(lock_seconds=2)
    target = target_for(path, for_restore=action == "restore")
    journal = Journal()
    async with engine.open(target) as session:
        if action == "apply":
            await session.apply(
                work(*STEPS, checks=[check("SELECT count(*) = 3 FROM items")]), journal
            )
        elif action == "stepwise":
            await session.apply(
                work(*STEPS, "VACUUM", "CREATE TABLE last (id)", transaction=False), journal
            )
        elif action == "big":
            await session.apply(work(*[BIG] * 4), journal)
        elif action == "backup":
            backup = await session.backup(folder / "backup.sqlite", deadline_seconds=30)
            return {"sha256": backup.sha256, "bytes": backup.bytes}
        elif action == "restore":
            sha256 = (folder / "backup.sha256").read_text()
            await session.restore(
                folder / "backup.sqlite",
                sha256=sha256,
                epoch=5,
                ledger=LEDGER,
                deadline_seconds=30,
            )
    return {
        "landed": journal.numbers,
        "recovered": [result.number for result in journal.results if result.recovered],
    }


def main() -> None:
    """Read the arguments, take on the limits that were asked for, act, and print."""
    action, path, folder = sys.argv[1:4]
    if limit := os.environ.get("TEST_FILE_BYTES"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        outcome = anyio.run(act, action, Path(path), Path(folder))
    except LedgerError as error:
        outcome = {
            "error": type(error).__name__,
            "message": str(error),
            "hint": error.hint,
            "database_code": getattr(error, "database_code", ""),
        }
    print(json.dumps(outcome))
