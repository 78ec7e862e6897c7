"""A new file in the place of a tenant's that is missing, or so damaged that SQLite cannot write into it.

Invariant: a file that any program has open is never replaced.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger.drivers.folders import sync_folder
from ledger.engines.sqlite.folders import SIDE_FILES
from ledger.engines.sqlite.peek import open_files
from ledger.errors import LockedError

LOCK_START: Final = 0x40000000
LOCK_BYTES: Final = 512
"""The bytes that SQLite locks: https://www.sqlite.org/fileformat.html#the_lock_byte_page"""

NEW_FILE_MODE: Final = 0o644
"""Of a file that was missing, less the umask: SQLite's own choice."""


def replace(live: Path, copy: Path, *, tenant: str) -> None:
    """Put the copy in the place of a file that is missing or damaged, with its mode and owner.

    A journal of the damaged file would be played back into the new one, and is
    removed, while we hold the lock that every SQLite connection takes. Raises
    LockedError if the file is in use, and OSError.
    """
    with suppress(FileExistsError):
        os.close(os.open(live, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, NEW_FILE_MODE))
    with _alone(live, tenant=tenant) as found:
        with copy.open("rb") as file:
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fsync(file.fileno())
        for suffix in SIDE_FILES:
            live.with_name(live.name + suffix).unlink(missing_ok=True)
        copy.replace(live)
        sync_folder(live.parent)


@contextmanager
def _alone(live: Path, *, tenant: str) -> Iterator[os.stat_result]:
    """Hold SQLite's lock on a file that SQLite cannot open. Raises LockedError if it is in use."""
    found = live.stat()
    if (found.st_ino, found.st_dev) in open_files():
        # Our own lock would say nothing of it, and closing the file would drop its locks.
        raise LockedError(
            f"{live} is damaged, and this process has it open",
            hint="Close the application's connections to it, then restore again.",
            tenant=tenant,
        )
    descriptor = os.open(live, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCK_BYTES, LOCK_START)
        except OSError as error:
            raise LockedError(
                f"{live} is damaged, and another program has it open",
                hint="Stop the program (`fuser FILE` names it), then restore again.",
                tenant=tenant,
            ) from error
        yield os.fstat(descriptor)
    finally:
        os.close(descriptor)
