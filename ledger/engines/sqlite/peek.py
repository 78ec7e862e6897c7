"""A SQLite file's 100-byte header, read without SQLite: it shows that nothing changed.

Invariant: nothing here opens a file that a connection of this process has open.
POSIX locks belong to the process, and closing any descriptor of a file drops
all of them (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ledger.engines.sqlite.folders import real_path
from ledger.errors import UnreachableError
from ledger.events import Mark

HEADER_BYTES: Final = 100
RECENT: Final = 64
"""Descriptors remembered: more than a run has tenants in hand."""

FIRST_PAGE_BYTES: Final = 4096
PAGE_SIZE_AT: Final = 16
LEAF: Final = 13
ENCODING_AT: Final = 56
UTF_8: Final = b"\0\0\0\1"
MAGIC: Final = b"SQLite format 3\0"
_FIELDS: Final = struct.Struct(">16sHBBBBBBIIIII")
"""Magic, page size, write version … then, from byte 24: change counter, pages, freelist (2), cookie.
https://www.sqlite.org/fileformat.html#the_database_header"""


Identity = tuple[int, int]
"""Inode and device of a file, under whatever name."""


class Peek(msgspec.Struct, frozen=True, kw_only=True):
    """`mark` has cookie, counter and bytes, no fingerprint; `wal` says that the file is in WAL mode.

    `pending_bytes` is the size of the -wal file (WAL mode) or of the -journal file
    (all others): if it is not 0, the header may be older than the database, and
    only opening the database shows it. In WAL mode the counter stands still.
    """

    mark: Mark
    wal: bool
    pending_bytes: int


def peek(path: str | Path) -> Peek:
    """Read the header and look for a -wal or -journal file: a few microseconds, for a thread.

    Only for a file on which this process has no connection open (see the
    module's invariant). An empty file is a valid, empty database. Raises
    UnreachableError, without a tenant's name, if there is no such file or it is
    not a SQLite database.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            header = os.read(descriptor, HEADER_BYTES)
            regular = bool(header) or stat.S_ISREG(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreachableError(
            f"cannot read {name}: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    if not header and regular:
        return Peek(mark=Mark(cookie=0, counter=0, bytes=0), wal=False, pending_bytes=0)
    found = parse_header(header)
    if found is None:
        raise UnreachableError(
            f"{name} is not a SQLite database, or it is encrypted",
            hint="Check that the path is right; `ledger restore --tenant NAME` brings a backup back.",
        )
    mark, wal = found
    return Peek(
        mark=mark, wal=wal, pending_bytes=_size(real_path(name) + ("-wal" if wal else "-journal"))
    )


def differs(path: str, mark: Mark, open_here: Collection[Identity] = ()) -> bool:
    """Whether the file's header is not that of `mark`, or older than it; True for a file that is unreadable.

    True without looking for a file that is `open_here`: its locks would be lost.

    The schema cookie must be the same, and the change counter must not have
    gone back: an application's writes count it up, an older copy has a lower
    one. The header may lag behind a -wal or -journal file that is not empty: that
    reads as different, and opening the database shows what it is.
    """
    try:
        if open_here:
            found = os.stat(path)  # noqa: PTH116  (10,000 of them: no Path objects)
            if (found.st_ino, found.st_dev) in open_here:
                return True
        seen = peek(path)
    except (OSError, UnreachableError):
        return True
    if seen.pending_bytes:
        return True
    if mark.cookie is None or seen.mark.cookie != mark.cookie:
        return True
    return mark.counter is not None and (seen.mark.counter or 0) < mark.counter


def may_have(path: str, table: str, open_here: Collection[Identity] = ()) -> bool:
    """Whether a database file may have the table: False only where its first page has the whole schema.

    True without reading for a file that is `open_here`; False for what is no database.
    """
    try:
        if open_here:
            found = os.stat(path)  # noqa: PTH116  (10,000 of them: no Path objects)
            if (found.st_ino, found.st_dev) in open_here:
                return True
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            page = os.read(descriptor, FIRST_PAGE_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    parsed = parse_header(page)
    if parsed is None:
        return False
    _, wal = parsed
    if _size(real_path(path) + ("-wal" if wal else "-journal")):
        return True
    # The root of sqlite_master is a leaf: every object's name is on this page, in UTF-8.
    size = int.from_bytes(page[PAGE_SIZE_AT : PAGE_SIZE_AT + 2])
    whole = (
        1 < size <= len(page)
        and page[HEADER_BYTES] == LEAF
        and page[ENCODING_AT : ENCODING_AT + 4] == UTF_8
    )
    return not whole or table.encode() in page


def open_files() -> frozenset[Identity]:
    """The files that this process has open, the application around us included; none where
    the system does not show them."""
    try:
        numbers = os.listdir("/dev/fd")  # noqa: PTH208
    except OSError:
        return frozenset()
    return frozenset(
        identity for identity in (_identity(int(number)) for number in numbers) if identity
    )


def parse_header(header: bytes) -> tuple[Mark, bool] | None:
    """The mark and whether the file is in WAL mode; None if this is no SQLite header."""
    if len(header) < HEADER_BYTES:
        return None
    magic, page, write_version, *_, counter, pages, _free, _count, cookie = _FIELDS.unpack_from(
        header
    )
    if magic != MAGIC:
        return None
    size = (65536 if page == 1 else page) * pages
    return Mark(cookie=cookie, counter=counter, bytes=size), write_version == 2


def _size(name: str) -> int:
    try:
        return os.stat(name).st_size  # noqa: PTH116  (10,000 of them: no Path objects)
    except FileNotFoundError:
        return 0


class Header(NamedTuple):
    """What only the header of an open database says: change counter and size."""

    counter: int
    bytes: int


class Descriptors:
    """SQLite's own descriptors of databases that are open in this process, where the system shows them.

    Reading through one needs no open and no close, so that no lock is lost. The numbers
    that were good before are tried first: the system gives a freed one out again.
    """

    def __init__(self) -> None:
        self._recent: tuple[int, ...] = ()

    def header(self, path: str) -> Header | None:
        """The header of an open database; None where it cannot be read.

        None in WAL mode too, where it may be older than the database. Otherwise it is the
        database's own before a transaction's first write and after its COMMIT.
        """
        try:
            wanted = os.stat(path)  # noqa: PTH116  (Path objects are half of the cost)
            number = self._find((wanted.st_ino, wanted.st_dev))
            parsed = None if number is None else parse_header(os.pread(number, HEADER_BYTES, 0))
        except OSError:
            return None
        if parsed is None or parsed[1]:
            return None
        mark, _ = parsed
        return Header(counter=mark.counter or 0, bytes=mark.bytes or 0)

    def _find(self, wanted: Identity) -> int | None:
        for number in self._recent:
            if _identity(number) == wanted:
                return number
        for name in reversed(os.listdir("/dev/fd")):  # noqa: PTH208
            if _identity(int(name)) == wanted:
                self._recent = (int(name), *self._recent)[:RECENT]
                return int(name)
        return None


def _identity(descriptor: int) -> Identity | None:
    """The file behind a descriptor; None for a number that is not open (a listing's own, another thread's)."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_ino, found.st_dev
