"""Backups of a live SQLite database, by SQLite's backup API.

The backup API and not VACUUM INTO: it copies page by page inside a read
transaction, so that rowids, free pages, page size, auto_vacuum, user_version,
application_id and the journal mode are the original's, it costs no sorting, and
it can be stopped between two batches of pages. What is in the -wal file is read
through SQLite like everything else.

Invariant: a file at a backup's final name is complete, verified and durable.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Final

from ledger import failpoints
from ledger.drivers.application import Application, equip
from ledger.drivers.url import file_uri
from ledger.engines.backups import publish
from ledger.engines.base import Backup
from ledger.engines.batch import Stop
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.soundness import find_damage
from ledger.engines.sqlite.steps import go_on, roll_back, snapshot
from ledger.engines.sqlite.trouble import BusyError, described, hint_for
from ledger.errors import BackupError, LockedError

BATCH_PAGES: Final = 2048
"""Pages copied between two checks of the deadline: some milliseconds."""

PROGRESS_OPERATIONS: Final = 100_000
"""Operations of SQLite's virtual machine between two checks of the deadline."""

CHUNK_BYTES: Final = 1 << 20
SPARE_BYTES: Final = 1 << 20
"""What must stay free on the disk beyond the backup itself."""

FILE_MODE: Final = 0o600


async def backup(opened: Opened, destination: Path, *, deadline_seconds: float) -> Backup:
    """Write a verified backup at `destination`, in one hop. Raises BackupError.

    The database stays readable and, in WAL mode, writable; in other modes a
    writer waits at its COMMIT until the pages are copied.
    """
    stop = threading.Event()
    try:
        return await opened.run(
            lambda database: write(opened.inside, database, destination, stop),
            doing="back up the database",
            stop=stop,
            timeout_seconds=deadline_seconds,
        )
    except TimeoutError as error:
        raise _error(
            opened.inside,
            f"the backup took longer than {deadline_seconds:g} s",
            hint="Raise the deadline for backups.",
        ) from error
    except (OSError, LockedError) as error:
        raise _error(opened.inside, f"cannot write {destination}: {error}") from error


def write(inside: Inside, database: sqlite3.Connection, destination: Path, stop: Stop) -> Backup:
    """In the thread: copy, verify, make durable, and give the file its name."""
    if os.path.lexists(destination):
        raise _error(inside, f"{destination} exists already; a backup never overwrites")
    partial = destination.with_name(f".{destination.name}.partial")
    with snapshot(database):
        found, _ = inside.cache.read(database)
        _require_space(inside, destination.parent, inside.size(database))
        create_private(partial)
        try:
            _copy(database, partial, stop)
            roll_back(database)
            verify(partial, stop, inside.target.application)
            digest, size = seal(partial)
            go_on(stop)
            failpoints.reach("backup.before_rename")
            publish(partial, destination)
        except sqlite3.Error as error:
            raise _error(
                inside, f"the backup is not sound: {described(error)}", hint=hint_for(error)
            ) from error
        finally:
            partial.unlink(missing_ok=True)
    failpoints.reach("backup.after_rename")
    return Backup(
        path=destination,
        bytes=size,
        sha256=digest,
        format="sqlite",
        covers="database",
        fingerprint=found,
    )


def create_private(path: Path) -> None:
    """An empty file of our own, mode 0600. What a killed attempt left under the name is removed.

    Neither follows a symlink. Raises OSError.
    """
    path.unlink(missing_ok=True)
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC
    os.close(os.open(path, flags, FILE_MODE))


def _copy(database: sqlite3.Connection, partial: Path, stop: Stop) -> None:
    copy = sqlite3.connect(file_uri(partial, mode="rw"), uri=True, isolation_level=None)
    try:
        # Nobody else sees the file before it is complete and synced by us.
        copy.execute("PRAGMA journal_mode = OFF").fetchall()
        copy.execute("PRAGMA synchronous = OFF")

        def progress(status: int, remaining: int, total: int) -> None:
            failpoints.reach("backup.half_written")
            go_on(stop)
            if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BusyError

        database.backup(copy, pages=BATCH_PAGES, progress=progress)
    finally:
        copy.close()


def verify(path: Path, stop: Stop, application: Application | None = None) -> None:
    """Raises sqlite3.DatabaseError with the first finding of a full integrity_check; without the
    `application` as far as it can be made without it (see ledger.engines.sqlite.soundness).

    The file is opened as immutable: a copy of a WAL database would otherwise get
    a -wal and a -shm file beside it.
    """
    copy = sqlite3.connect(
        file_uri(path, mode="ro") + "&immutable=1", uri=True, isolation_level=None
    )
    try:
        if application is not None:
            equip(copy, application)
        copy.set_progress_handler(stop.is_set, PROGRESS_OPERATIONS)
        found = find_damage(copy, most=1)
    finally:
        copy.close()
    if found:
        raise sqlite3.DatabaseError(f"integrity_check says: {found[0]}")


def seal(path: Path) -> tuple[str, int]:
    """Make a file's content durable; its SHA-256 in hex and its size, as read back. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def check(path: Path) -> None:
    verify(path, threading.Event())


def _require_space(inside: Inside, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise _error(
            inside,
            f"the backup needs {size} bytes, and {folder} has {free} free",
            hint="Free space there, or set `backups` to another folder.",
        )


def _error(inside: Inside, message: str, *, hint: str = "") -> BackupError:
    return BackupError(
        message,
        hint=hint or "Nothing was changed; correct this, then run the command again.",
        tenant=inside.tenant,
    )
