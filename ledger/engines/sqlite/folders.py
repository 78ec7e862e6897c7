"""Making durable which files there are: what SQLite does not do, or not by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ledger.drivers.folders import sync_folder

SIDE_FILES: Final = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a database, by what follows the database's name."""


def remove_database(path: Path) -> None:
    """Remove a database that no connection has open, and what SQLite may have put beside it."""
    for suffix in ("", *SIDE_FILES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def sync_commits(paths: Iterable[str]) -> None:
    """Make durable what connections with `synchronous = FULL` have committed to these databases.

    A commit removes the rollback journal; as long as that may come back, so may what was
    before. One sync does for all of a folder. A folder that may not be opened is left out,
    as SQLite does it. Raises OSError.
    """
    folders = {os.path.dirname(real_path(path)) for path in paths}  # noqa: PTH120
    for folder in folders:
        with suppress(PermissionError):
            sync_folder(folder or ".")


def sync_found(path: str) -> None:
    """Make durable what is read from a database, all of it.

    It may be the work of a process that was killed between a commit's last write and its last
    sync: of the -wal file, or of the folder. Raises OSError.
    """
    with suppress(FileNotFoundError):
        # SQLite takes no lock on this file, so that none is lost when it is closed.
        sync_file(real_path(path) + "-wal")
    sync_commits([path])


def sync_file(path: str | Path) -> None:
    """Make a file's content durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def real_path(path: str) -> str:
    """SQLite's own files are beside the database itself, not beside a link to it."""
    return os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114
