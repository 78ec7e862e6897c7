"""Bringing a backup back into the live file, in place.

The content goes in through SQLite's backup API, so that the file keeps its
inode, mode and owner, and other connections see one transaction. Only a file
that is missing or damaged is replaced by a new one.

Invariants: the live file is touched only once a private copy of the backup has
the hash that was recorded, is sound, and has the new fence in its marker; a
runner whose claim has passed on writes nothing, since the fence is set in the
live file first and looked at again under the lock that the copy holds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec

from ledger import failpoints
from ledger.drivers.sqlite import CLOSE_SECONDS, INTERRUPT_SECONDS
from ledger.drivers.url import file_uri
from ledger.engines.sqlite.backup.backup import (
    CHUNK_BYTES,
    SPARE_BYTES,
    create_private,
    verify,
)
from ledger.engines.sqlite.backup.replace import replace
from ledger.engines.sqlite.folders import remove_database
from ledger.engines.sqlite.marker import CREATE_MARKER, admit, put_fence, read_marker
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.steps import commit, go_on, or_busy, roll_back
from ledger.engines.sqlite.trouble import (
    DAMAGED,
    BusyError,
    described,
    hint_for,
    is_busy,
    primary_code,
)
from ledger.errors import RestoreError
from ledger.events import Mark

T = TypeVar("T")

BATCH_PAGES: Final = 256
"""Pages copied between two checks of the deadline."""

MOST_NAME_BYTES: Final = 200
"""A file system takes 255; the copy's name, and those of the files SQLite puts beside it, have more."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The backup, its recorded SHA-256, and the claim under which it is restored."""

    path: Path
    sha256: str
    epoch: int
    ledger: str


class _Copy(msgspec.Struct, frozen=True, kw_only=True):
    """The private copy: where it is, what its schema is, and how it is laid out."""

    path: Path
    fingerprint: str
    pages: int
    page_bytes: int
    journal_mode: str


async def restore(opened: Opened, source: Source, *, deadline_seconds: float) -> Mark:
    """Replace the tenant's content. May be repeated after a crash.

    A WAL database stays readable meanwhile; if the backup's page size is not the
    live file's, it has to leave WAL mode for the moment, which needs that nobody
    else has it open. Raises RestoreError, FencedError, TenantError for another
    ledger's tenant, LockedError while another connection holds the database.
    """
    live = _resolved(opened.path)
    partial = _beside(live)
    try:
        with anyio.fail_after(deadline_seconds):
            copy = await _in_thread(lambda stop: _prepare(opened, source, partial, stop))
            if opened.damage is None and await _write_in_place(opened, source, copy):
                mark = await _read_back(opened, copy)
            else:
                await opened.disconnect()
                await _in_thread(lambda _: replace(live, copy.path, tenant=opened.tenant))
                await opened.connect()
                mark = await opened.run(opened.inside.mark, doing="read the schema")
    except TimeoutError as error:
        raise _error(
            opened,
            f"the restore took longer than {deadline_seconds:g} s",
            hint="Raise the deadline and run the command again; it may be repeated.",
        ) from error
    except OSError as error:
        raise _error(opened, f"cannot restore {source.path}: {error}") from error
    finally:
        remove_database(partial)
    failpoints.reach("restore.after_write")
    if mark.fingerprint != copy.fingerprint:
        raise _error(
            opened,
            "the restored schema is not the backup's",
            hint="Something else writes to this database; stop it, then restore again.",
        )
    return mark


async def _in_thread(function: Callable[[threading.Event], T]) -> T:
    """Run a function in a worker thread; its event is set, and its end waited for, on a cancel."""
    stop, started, over = threading.Event(), threading.Event(), threading.Event()

    def run() -> T:
        started.set()
        try:
            go_on(stop)
            return function(stop)
        finally:
            over.set()

    try:
        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)
    except anyio.get_cancelled_exc_class():
        stop.set()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            # A thread's event cannot wake the loop once its await was abandoned.
            while started.is_set() and not over.is_set():  # noqa: ASYNC110
                await anyio.sleep(INTERRUPT_SECONDS)
        raise


def _resolved(path: str) -> Path:
    """The file itself where the target names a symlink to it: that is what is replaced."""
    return Path(path).resolve()


def _beside(live: Path) -> Path:
    """Where the private copy is: the same after a kill, and another for every live file."""
    name = live.name
    if len(os.fsencode(name)) > MOST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return live.with_name(f".{name}.restore")


def _prepare(opened: Opened, source: Source, partial: Path, stop: threading.Event) -> _Copy:
    """A private copy beside the live file: hashed while it is made, verified, and fenced."""
    _require_space(opened, source, partial.parent)
    create_private(partial)
    digest = _copy_hashed(source.path, partial, stop)
    if digest != source.sha256:
        raise _error(
            opened,
            f"the backup {source.path} is not the file that was written: its SHA-256 is {digest}, "
            f"recorded is {source.sha256}",
            hint="It was truncated or changed; take an older backup (`ledger backups`).",
        )
    try:
        verify(partial, stop, opened.inside.target.application)
        with closing(_connect(partial)) as copy:
            return _fence_copy(opened, source, partial, copy)
    except sqlite3.Error as error:
        raise _error(
            opened,
            f"the backup {source.path} is not sound: {described(error)}",
            hint=hint_for(error) or "Take an older backup (`ledger backups`).",
        ) from error


def _require_space(opened: Opened, source: Source, folder: Path) -> None:
    """Room for the copy, and for the journal that keeps the old content until the commit."""
    try:
        needed = source.path.stat().st_size + SPARE_BYTES
    except OSError as error:
        raise _error(
            opened,
            f"the backup {source.path} cannot be read: {error.strerror}",
            hint="Bring the file back, or take another backup (`ledger backups`).",
        ) from error
    with suppress(FileNotFoundError):
        needed += Path(opened.path).stat().st_size
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _error(
            opened,
            f"the restore needs {needed} bytes, and {folder} has {free} free",
            hint="Free space there, then run the command again.",
        )


def _copy_hashed(origin: Path, partial: Path, stop: threading.Event) -> str:
    """Copy, and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with origin.open("rb", buffering=0) as reader, partial.open("r+b", buffering=0) as writer:
        while chunk := reader.read(CHUNK_BYTES):
            go_on(stop)
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[writer.write(view) :]
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _fence_copy(opened: Opened, source: Source, partial: Path, copy: sqlite3.Connection) -> _Copy:
    """Set the fence in the copy, so that the restored content carries it from its first moment."""
    found = read_marker(copy, tenant=opened.tenant)
    copy.execute("BEGIN IMMEDIATE")
    copy.execute(CREATE_MARKER)
    put_fence(copy, found, epoch=source.epoch, ledger=source.ledger)
    mark, _ = opened.inside.marked(copy)
    commit(copy)
    return _Copy(
        path=partial,
        fingerprint=mark.fingerprint or "",
        pages=_pragma(copy, "page_count"),
        page_bytes=_pragma(copy, "page_size"),
        journal_mode=_pragma(copy, "journal_mode"),
    )


async def _write_in_place(opened: Opened, source: Source, copy: _Copy) -> bool:
    """Bring the copy into the live file; False if that turns out to be damaged."""
    stop = threading.Event()

    def write(database: sqlite3.Connection) -> bool:
        try:
            try:
                wal = _fence_live(opened, source, copy, database)
                _transfer(opened, source, copy, database, stop, wal=wal)
            except BaseException:
                _release(database)
                raise
        except sqlite3.DatabaseError as error:
            if primary_code(error) in DAMAGED:
                return False
            raise
        finally:
            roll_back(database)
        return True

    failpoints.reach("restore.before_write")
    return await opened.run(write, doing="restore the backup", stop=stop)


async def _read_back(opened: Opened, copy: _Copy) -> Mark:
    """What is in the live file now, over a new connection, with the backup's journal mode.

    The one that wrote it is bound to the text encoding that the file had before; its
    end lets go of the exclusive lock, too.
    """

    def read(database: sqlite3.Connection) -> Mark:
        _set_journal_mode(database, copy.journal_mode)
        return opened.inside.mark(database)

    await opened.reconnect()
    return await opened.run(read, doing="read what was restored")


def _fence_live(opened: Opened, source: Source, copy: _Copy, database: sqlite3.Connection) -> bool:
    """Set the fence in the live file, and return whether it is in WAL mode.

    Outside WAL mode its lock is kept from here to the end of the transfer.
    Raises FencedError; BusyError, nothing written, while others hold a lock.
    """
    wal: bool = _pragma(database, "journal_mode") == "wal"
    if wal and copy.page_bytes != _pragma(database, "page_size"):
        # The backup API cannot change the page size of a WAL database.
        or_busy(database, "PRAGMA main.journal_mode = DELETE")
        wal = False
    if not wal:
        database.execute("PRAGMA main.locking_mode = EXCLUSIVE").fetchall()
    or_busy(database, "BEGIN IMMEDIATE" if wal else "BEGIN EXCLUSIVE")
    marker = read_marker(database, tenant=opened.tenant)
    admit(marker, epoch=source.epoch, ledger=source.ledger, tenant=opened.tenant)
    database.execute(CREATE_MARKER)
    put_fence(database, marker, epoch=source.epoch, ledger=source.ledger)
    commit(database)
    return wal


def _transfer(
    opened: Opened,
    source: Source,
    copy: _Copy,
    database: sqlite3.Connection,
    stop: threading.Event,
    *,
    wal: bool,
) -> None:
    """The backup API, from the copy into the live file: one transaction there.

    The first batch is never the last, so that its callback comes while the write
    lock is held and nothing is committed. In WAL mode the lock was free for a
    moment before it: a claim that passed on in that moment is seen there.
    """
    looked = False

    def progress(status: int, remaining: int, total: int) -> None:
        nonlocal looked
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError
        go_on(stop)
        if looked:
            return
        looked = True
        failpoints.reach("restore.half_written")
        if wal:
            with closing(_connect(Path(opened.path), mode="ro")) as reader:
                marker = read_marker(reader, tenant=opened.tenant)
            admit(marker, epoch=source.epoch, ledger=source.ledger, tenant=opened.tenant)

    pages = max(1, min(BATCH_PAGES, copy.pages - 1))
    with closing(_connect(copy.path)) as origin:
        origin.backup(database, pages=pages, progress=progress)


def _release(database: sqlite3.Connection) -> None:
    """Leave exclusive locking mode: SQLite lets go with the next access."""
    roll_back(database)
    database.execute("PRAGMA main.locking_mode = NORMAL").fetchall()
    database.execute("SELECT 1 FROM main.sqlite_master LIMIT 1").fetchall()


def _set_journal_mode(database: sqlite3.Connection, wanted: str) -> None:
    """Give the file the backup's journal mode: WAL or not is a property of the file.

    Leaving WAL needs that nobody else has it open; if somebody has, it stays.
    """
    if (_pragma(database, "journal_mode") == "wal") == (wanted == "wal"):
        return
    try:
        database.execute(f"PRAGMA main.journal_mode = {'WAL' if wanted == 'wal' else 'DELETE'}")
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise


def _connect(path: Path, *, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(file_uri(path, mode=mode), uri=True, isolation_level=None, timeout=0)


def _pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA main.{name}").fetchone()[0]


def _error(opened: Opened, message: str, *, hint: str = "") -> RestoreError:
    return RestoreError(
        message,
        hint=hint or "Correct this, then run the command again; a restore may be repeated.",
        tenant=opened.tenant,
    )
