"""Reading a backup file through: is it the recorded one, and would a restore take it?

Invariant: nothing is written, and nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Literal

import anyio.to_thread

from ledger.errors import BackupError


async def verify_backup(path: Path, *, form: Literal["sqlite", "sql.zst"], sha256: str) -> None:
    """Hash the file, then read it: SQLite's integrity_check, or every statement of the dump.

    Raises BackupError that says what is wrong with it.
    """
    look = _sqlite if form == "sqlite" else _dump
    try:
        await anyio.to_thread.run_sync(_hash, path, sha256)
        await anyio.to_thread.run_sync(look, path)
    except FileNotFoundError:
        raise _bad("the file is not there") from None
    except OSError as error:
        raise _bad(f"it cannot be read: {error.strerror or error}") from error
    except (ValueError, sqlite3.Error) as error:
        raise _bad(str(error)) from error


def _bad(message: str) -> BackupError:
    return BackupError(message, hint="It cannot be restored; keep another one.")


def _hash(path: Path, sha256: str) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"its SHA-256 is {found}, and {sha256} was recorded")


def _sqlite(path: Path) -> None:
    from ledger.engines.sqlite.backup.backup import verify

    verify(path, threading.Event())


def _dump(path: Path) -> None:
    from ledger.engines.mysql.backup.container import read_contents, read_sql
    from ledger.engines.mysql.backup.dumpfile import statements

    for _ in statements(read_sql(path, limit_bytes=read_contents(path).sql_bytes)):
        pass
