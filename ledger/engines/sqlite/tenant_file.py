"""The file of a tenant, before SQLite opens it.

Invariant: a file that does not exist is created only if the target says so, and
nothing but a regular file is ever opened.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from ledger.drivers.url import SqliteUrl
from ledger.engines.base import Target
from ledger.errors import UnreachableError

FILE_MODE: Final = 0o644
"""Of a file that `create` makes, less the umask: SQLite's own choice, since the application reads it too."""


def path_of(target: Target) -> str:
    """Where the tenant's file is."""
    if not isinstance(target.url, SqliteUrl):
        raise TypeError(f"the SQLite engine cannot open {target.url}")
    return target.url.path


def require_file(target: Target, path: str) -> None:
    """Raises FileNotFoundError if there is none, UnreachableError if it is no regular file."""
    if path == ":memory:":
        return
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  (Path objects are half of the cost)
    except FileNotFoundError:
        if not target.create or target.for_restore:
            raise
        _create(target, path)
        return
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"cannot open {path}: {error}",
            hint=f"Check the path in {target.source} and its permissions.",
            tenant=target.name,
        ) from error
    if not stat.S_ISREG(mode):
        raise UnreachableError(
            f"{path} is not a regular file",
            hint=f"Name a SQLite database file in {target.source}.",
            tenant=target.name,
        )


def _create(target: Target, path: str) -> None:
    """Make an empty file, which is an empty database; never a folder, never through a symlink."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, FILE_MODE))
    except FileExistsError:
        # Somebody else made it in the meantime (or it is a dangling link, which open() names).
        return
    except OSError as error:
        raise UnreachableError(
            f"cannot create {path}: {error.strerror}",
            hint=f"Create its folder, or correct the path in {target.source}.",
            tenant=target.name,
        ) from error
