"""Backup files: giving one its name, and reading it through.

Invariant: a backup is never replaced, and nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from ledger.drivers.folders import sync_folder
from ledger.engines.kind import imported
from ledger.engines.kinds import KINDS
from ledger.errors import BackupError

Check = Callable[[Path], None]
"""Reads a backup through. Raises ValueError or sqlite3.Error that says what is wrong with it, OSError."""


def publish(partial: Path, destination: Path) -> None:
    """Give a synced file its final name, durably, without ever replacing one. Raises OSError."""
    # A hard link fails where a rename would replace.
    os.link(partial, destination, follow_symlinks=False)
    partial.unlink()
    sync_folder(destination.parent)


def sha256_of(path: Path) -> str:
    """The file's hash, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_sha256(path: Path, recorded: str) -> None:
    """Raises ValueError for another file than the one that was recorded, OSError."""
    found = sha256_of(path)
    if found != recorded:
        raise ValueError(f"its SHA-256 is {found}, and {recorded} was recorded")


async def verify_backup(path: Path, *, form: str, sha256: str) -> None:
    """Hash the file, then read it as a restore would. Raises BackupError that says what is wrong with it."""
    check: Check = imported(
        next(kind.backup_check for kind in KINDS.values() if kind.backup_format == form)
    )
    try:
        await anyio.to_thread.run_sync(_require_recorded, path, sha256)
        await anyio.to_thread.run_sync(check, path)
    except FileNotFoundError:
        raise _bad("the file is not there") from None
    except OSError as error:
        raise _bad(f"it cannot be read: {error.strerror or error}") from error
    except (ValueError, sqlite3.Error) as error:
        raise _bad(str(error)) from error


def _bad(message: str) -> BackupError:
    return BackupError(message, hint="It cannot be restored; keep another one.")


def _require_recorded(path: Path, sha256: str) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is not a regular file")
    require_sha256(path, sha256)
