"""A tenant's backup by mariadb-dump or mysqldump: its own tables and nothing of its neighbours.

Invariant: nothing is left at the final name, or beside it, unless the dump came to its
end, said so, is on the disk, and was read back.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import msgspec

from ledger import failpoints
from ledger.engines.backups import publish
from ledger.engines.base import Backup
from ledger.engines.mysql.backup.broken_views import broken_views
from ledger.engines.mysql.backup.clients import PACKAGES, DumpProgram, dump_program
from ledger.engines.mysql.backup.container import BrokenView, Contents, Writer
from ledger.engines.mysql.backup.dump import dump
from ledger.engines.mysql.backup.dumpfile import read_through
from ledger.engines.mysql.doctor.grants import granted
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.model import Claimed, Listing
from ledger.errors import BackupError

HISTORY: Final = "--dump-history"
HISTORY_SINCE: Final = (10, 11)
"""The first MariaDB that takes the history of a system-versioned table back, and whose program dumps it."""
UNFINISHED: Final = ".sql.zst.tmp"
SPARE_BYTES: Final = 1 << 20

DEFAULTS: Final = "SELECT @@character_set_database, @@collation_database"
NOT_DUMPED_RIGHT: Final = """
SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE()
  AND (EXTRA LIKE '%VIRTUAL GENERATED%' OR EXTRA LIKE '%STORED GENERATED%' OR EXTRA LIKE '%INVISIBLE%')
"""
VERSIONED: Final = """
SELECT TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'SYSTEM VERSIONED'
"""


async def backup(
    opened: Opened, destination: Path, *, deadline_seconds: float, pending: Sequence[str]
) -> Backup:
    connection, prefix = opened.connection, opened.names.prefix
    own = await opened.reader.listing(connection)
    listing = await opened.reader.listing(connection, also=_about_to_change(opened, pending))
    mark = await opened.reader.mark(connection)
    broken = await broken_views(connection, opened.names, listing.views)
    program = await dump_program(
        connection.server, opened.shared.dump_programs, tenant=opened.tenant
    )
    await _require_fit(opened, program, listing)
    await _require_seen(opened)
    more = await _history(opened, listing)
    found = await opened.table.read(connection, bodies=True)
    charset, collation = (await connection.fetch(DEFAULTS))[0]
    contents = Contents(
        sql_bytes=0,
        covers=f"prefix {prefix}" if prefix else "database",
        fingerprint=mark.fingerprint or "",
        entries=tuple(found.entries.values()),
        charset=charset,
        collation=collation,
        database=opened.names.database,
        names=_held(listing) if prefix else (),
        beyond=tuple(name for name in _held(listing) if name not in _held(own)),
        beside=listing.beside if prefix else (),
        broken=broken,
    )
    with _explained(program, destination, deadline_seconds, tenant=opened.tenant):
        await anyio.to_thread.run_sync(_require_room, destination, listing.bytes)
        with anyio.fail_after(deadline_seconds):
            async with _temporary(destination) as (temporary, file):
                writer = Writer(file)
                await dump(opened, program, _without(listing, broken), writer, more)
                contents = msgspec.structs.replace(contents, sql_bytes=writer.sql_bytes)
                sha256 = await anyio.to_thread.run_sync(_finish, writer, contents, temporary)
    return Backup(
        path=destination,
        bytes=writer.bytes,
        sha256=sha256,
        format="sql.zst",
        covers=contents.covers,
        fingerprint=contents.fingerprint,
        left_out=tuple(name for _, name in listing.unclear),
        broken=tuple(view.name for view in broken),
    )


@contextmanager
def _explained(
    program: DumpProgram, destination: Path, deadline_seconds: float, *, tenant: str
) -> Iterator[None]:
    """What keeps the file from being written or read back leaves as BackupError."""
    try:
        yield
    except TimeoutError:
        raise BackupError(
            f"the backup was not done within {deadline_seconds:g} s",
            hint="Raise the deadline for backups, or run with --no-backup.",
            tenant=tenant,
        ) from None
    except ValueError as error:
        raise BackupError(
            f"what {program.path} wrote cannot be read back: {error}",
            hint="Run with --no-backup, and back this tenant up by other means.",
            tenant=tenant,
        ) from error
    except OSError as error:
        raise BackupError(
            f"the backup cannot be written to {destination}: {error.strerror or error}",
            hint="Check the folder `backups`, its permissions and its free space.",
            tenant=tenant,
        ) from error


def _without(listing: Listing, broken: Sequence[BrokenView]) -> Listing:
    """What the program can dump."""
    names = {view.name for view in broken}
    return msgspec.structs.replace(
        listing, views=tuple(name for name in listing.views if name not in names)
    )


def _about_to_change(opened: Opened, pending: Sequence[str]) -> Claimed:
    """What is there already and pending migrations change: a backup from before them needs it."""
    touches = opened.target.touches
    names = (
        touches[migration].of(opened.names.prefix).altered
        for migration in pending
        if migration in touches
    )
    return Claimed(names=frozenset().union(*names))


def _held(listing: Listing) -> tuple[str, ...]:
    return tuple(sorted({*listing.names, *(name for _, name in listing.programs)}))


def _finish(writer: Writer, contents: Contents, temporary: Path) -> str:
    """End the file and read it as a restore will: its SHA-256. Raises OSError, ValueError."""
    sha256 = writer.finish(contents)
    read_through(temporary, sql_bytes=contents.sql_bytes)
    return sha256


def _require_room(destination: Path, tenant_bytes: int) -> None:
    """Raises OSError if the disk is likely to be too small; SQL compresses to a third or less."""
    free = shutil.disk_usage(destination.parent).free
    needed = tenant_bytes // 3 + SPARE_BYTES
    if free < needed:
        raise OSError(28, f"about {needed} bytes are needed and {free} are free")


async def _require_fit(opened: Opened, program: DumpProgram, listing: Listing) -> None:
    """mariadb-dump writes values for generated columns that MySQL does not take back. Raises BackupError."""
    connection = opened.connection
    if connection.server.flavor == program.flavor or connection.server.flavor == "mariadb":
        return
    rows = [row for row in await connection.fetch(NOT_DUMPED_RIGHT) if row[0] in listing.tables]
    if rows:
        raise BackupError(
            f"{program.path} is MariaDB's, and cannot dump MySQL's generated or invisible columns "
            f"({rows[0][0]}.{rows[0][1]}) so that they can be restored",
            hint=f"Install {PACKAGES['mysql']}, or run with --no-backup.",
            tenant=opened.tenant,
        )


async def _require_seen(opened: Opened) -> None:
    """MySQL hides triggers from an account without the privilege; MariaDB names them, and the dump fails.

    Raises BackupError.
    """
    connection = opened.connection
    if connection.server.flavor == "mariadb":
        return
    rows = await connection.fetch("SHOW GRANTS")
    have = granted([str(row[0]) for row in rows], opened.names.database)
    if not (have.by_role or have.may("TRIGGER")):
        raise BackupError(
            "the account lacks TRIGGER, without which it is not known which triggers there are",
            hint=f"GRANT TRIGGER ON `{opened.names.database}`.* to the account, or run with --no-backup.",
            tenant=opened.tenant,
        )


async def _history(opened: Opened, listing: Listing) -> tuple[str, ...]:
    """The option that brings the old rows of system-versioned tables along, where there are any.

    Raises BackupError for a server that could not take them back. An older dump program refuses
    the option, and any one a table whose history goes by transactions.
    """
    connection = opened.connection
    if connection.server.flavor != "mariadb":
        return ()
    rows = [row[0] for row in await connection.fetch(VERSIONED) if row[0] in listing.tables]
    if not rows:
        return ()
    if connection.server.version[:2] < HISTORY_SINCE:
        raise BackupError(
            f"the history of the system-versioned table {rows[0]} cannot be restored on"
            f" {connection.server.text}",
            hint="MariaDB 10.11 can; or run with --no-backup.",
            tenant=opened.tenant,
        )
    return (HISTORY,)


@asynccontextmanager
async def _temporary(destination: Path) -> AsyncIterator[tuple[Path, BinaryIO]]:
    """A file beside `destination` that gets its name at the end, or is gone. Raises OSError."""
    temporary = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}{UNFINISHED}")
    await anyio.to_thread.run_sync(_sweep, destination.parent)
    if await anyio.to_thread.run_sync(os.path.lexists, destination):
        raise FileExistsError(17, "a file of that name is there already")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with os.fdopen(descriptor, "wb") as file:
            yield temporary, file
        failpoints.reach("backup.before_rename")
        await anyio.to_thread.run_sync(publish, temporary, destination)
        failpoints.reach("backup.after_rename")
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed backups have left; a backup that is still being written holds a lock on its file."""
    for left in folder.glob(f".*{UNFINISHED}"):
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
