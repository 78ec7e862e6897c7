"""The tables of a SQLite ledger: made, recognised, and brought forward.

Invariant: a ledger is made in one transaction, in a file that only its owner
can read; a file that is something else is never written to.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ledger.drivers.folders import sync_folder
from ledger.drivers.locks import lock_holders
from ledger.errors import NoLedgerError, StoreError, StoreUnavailableError
from ledger.events import GENESIS_HASH
from ledger.stores.base import LEDGER_SCHEMA, MAKE_HINT
from ledger.stores.migrations import CREATED_KEY, ID_KEY, SCHEMA_KEY, Upgrade, pending

TABLES: Final = (
    """
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY,
    stream    TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    event_id  TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    at        TEXT    NOT NULL,
    run       TEXT    NOT NULL,
    actor     TEXT    NOT NULL,
    tenant    TEXT,
    body      TEXT    NOT NULL,
    prev_hash TEXT    NOT NULL,
    hash      TEXT    NOT NULL,
    UNIQUE (stream, version),
    UNIQUE (event_id)
)""",
    """
CREATE TABLE head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash TEXT    NOT NULL
)""",
    """
CREATE TABLE scripts (
    sha256    TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    content   TEXT NOT NULL
)""",
    """
CREATE TABLE projections (
    name  TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    state BLOB    NOT NULL,
    seq   INTEGER NOT NULL,
    PRIMARY KEY (name, key)
) WITHOUT ROWID""",
    """
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID""",
)

# INSERT OR REPLACE deletes without firing DELETE triggers: for events the seq must
# be beyond the head, and a script that is there already is left as it is.
TRIGGERS: Final = (
    """
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE on events is refused'); END""",
    """
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE on events is refused'); END""",
    """
CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
WHEN NEW.seq <= (SELECT seq FROM head)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: REPLACE on events is refused'); END""",
    """
CREATE TRIGGER scripts_refuse_update BEFORE UPDATE ON scripts
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE on scripts is refused'); END""",
    """
CREATE TRIGGER scripts_refuse_delete BEFORE DELETE ON scripts
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE on scripts is refused'); END""",
    """
CREATE TRIGGER scripts_keep_first BEFORE INSERT ON scripts
WHEN EXISTS (SELECT 1 FROM scripts WHERE sha256 = NEW.sha256)
BEGIN SELECT RAISE(IGNORE); END""",
)

_INSERT_META: Final = "INSERT INTO meta (key, value) VALUES (?, ?)"
_SET_META: Final = "UPDATE meta SET value = ? WHERE key = ?"
_TABLE_NAMES: Final = "SELECT name FROM sqlite_master WHERE type = 'table'"
_META: Final = "SELECT key, value FROM meta"

_OTHER_HINT: Final = (
    "Check `url` in the configuration. If this was the ledger, put back a copy of it."
)


def make_file(path: str) -> None:
    """Make an empty file, mode 0600, in an existing folder; one that is there is left alone.

    Raises StoreUnavailableError.
    """
    try:
        # An existing file is not even opened: closing it would drop its SQLite locks.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailableError(
            f"the ledger {path} cannot be made: {error.strerror}",
            hint="Make the folder first, or check `url` in the configuration.",
        ) from error
    os.close(descriptor)
    sync_folder(Path(path).parent)


def refuse_missing(path: str) -> None:
    """Raise StoreUnavailableError unless there is a file at `path`."""
    if not Path(path).exists():
        raise NoLedgerError(f"there is no ledger at {path}", hint=MAKE_HINT)
    if not Path(path).is_file():
        raise StoreUnavailableError(f"{path} is not a file", hint=_OTHER_HINT)


def cannot_change(path: str) -> bool:
    """Whether a ledger lies still in a folder where nobody here can write, with nothing left in its WAL."""
    wal = Path(path + "-wal")
    return not os.access(Path(path).parent, os.W_OK) and not (wal.exists() and wal.stat().st_size)


def read_meta(db: sqlite3.Connection, *, path: str) -> dict[str, str] | None:
    """The ledger's `meta`, or None for a database without any table.

    Raises StoreUnavailableError if the database is something else.
    """
    tables = {name for (name,) in db.execute(_TABLE_NAMES)}
    if not tables:
        return None
    meta = dict(db.execute(_META).fetchall()) if {"meta", "events"} <= tables else {}
    if not meta.get(SCHEMA_KEY, "").isdigit() or not meta.get(ID_KEY):
        raise StoreUnavailableError(f"{path} is a database, but not a ledger", hint=_OTHER_HINT)
    return meta


def refuse_empty(path: str) -> StoreError:
    """The error for a database without any table, where none is to be made."""
    return NoLedgerError(f"{path} is empty, not a ledger", hint=MAKE_HINT)


def make_tables(db: sqlite3.Connection, *, path: str, now: str) -> dict[str, str]:
    """Make all tables in one transaction, unless another process was first; its `meta`."""
    db.execute("BEGIN IMMEDIATE")
    try:
        meta = read_meta(db, path=path)
        if meta is None:
            for statement in (*TABLES, *TRIGGERS):
                db.execute(statement)
            db.execute("INSERT INTO head (id, seq, hash) VALUES (1, 0, ?)", (GENESIS_HASH,))
            meta = {SCHEMA_KEY: str(LEDGER_SCHEMA), ID_KEY: uuid.uuid4().hex, CREATED_KEY: now}
            db.executemany(_INSERT_META, meta.items())
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return meta


def upgrade_tables(
    db: sqlite3.Connection, *, path: str, target: int, upgrades: Sequence[Upgrade]
) -> dict[str, str]:
    """Bring an older ledger to `target` in one transaction; its `meta` afterwards."""
    db.execute("BEGIN IMMEDIATE")
    try:
        meta = read_meta(db, path=path) or {}
        for upgrade in pending(int(meta[SCHEMA_KEY]), target, upgrades):
            for statement in upgrade.statements:
                db.execute(statement)
            meta[SCHEMA_KEY] = str(upgrade.to)
        db.execute(_SET_META, (meta[SCHEMA_KEY], SCHEMA_KEY))
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return meta


def roll_back(db: sqlite3.Connection) -> None:
    """End an open transaction; a full disk or an I/O error has ended it already."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process holds the lock, so that waiting helps."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


_PROBLEMS: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_BUSY: (
        "is locked by another process",
        "Let that process end its transaction, or end the process (a run that is killed loses"
        " nothing; one that is stopped goes on with `kill -CONT`), then run the command again.",
    ),
    sqlite3.SQLITE_READONLY: (
        "is read-only",
        "Make the file and its folder writable for this user.",
    ),
    sqlite3.SQLITE_FULL: ("has no room left on its disk", "Free some disk space, then run again."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Look at the disk and the system log."),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "Check that the file and its folder may be read and written by this user.",
    ),
    sqlite3.SQLITE_NOTADB: ("is not a SQLite database", _OTHER_HINT),
    sqlite3.SQLITE_CORRUPT: (
        "is corrupt",
        "Set the file aside, restore the newest copy of it, and run `ledger verify`.",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "does not fit together: its head row and its events disagree",
        "Run `ledger verify` to see where, and restore the ledger from a copy.",
    ),
    sqlite3.SQLITE_PERM: ("may not be accessed", "Check the file's owner and mode."),
}


def translate(error: sqlite3.Error, *, path: str) -> StoreUnavailableError:
    """The driver's exception in the ledger's words."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    what, hint = _PROBLEMS.get(code, ("cannot be used", "Run `ledger verify`."))
    if code == sqlite3.SQLITE_BUSY and (holders := lock_holders(path)):
        what = f"is locked by {holders}"
    return StoreUnavailableError(f"the ledger {path} {what}: {error}", hint=hint)
