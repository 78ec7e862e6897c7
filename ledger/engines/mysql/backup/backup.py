"""A tenant's backup by mariadb-dump or mysqldump: its own tables and nothing of its neighbours.

Invariant: nothing is left at the final name, or beside it, unless the dump came to its
end, said so, is on the disk, and was read back.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, Process

from ledger import failpoints
from ledger.drivers.mysql import SERVER_FULL, quote_identifier
from ledger.drivers.secrets import read_secret
from ledger.drivers.url import Secret
from ledger.engines.base import Backup
from ledger.engines.mysql.backup.broken_views import broken_views
from ledger.engines.mysql.backup.clients import (
    PACKAGES,
    DumpProgram,
    clean_environment,
    defaults_file,
    dump_program,
)
from ledger.engines.mysql.backup.container import (
    CHUNK_BYTES,
    BrokenView,
    Contents,
    Writer,
    read_sql,
)
from ledger.engines.mysql.backup.dumpfile import statements
from ledger.engines.mysql.doctor.grants import granted
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.model import Claimed, Listing
from ledger.engines.mysql.schema.programs import Program, read_program
from ledger.errors import BackupError

OPTIONS: Final = (
    "--single-transaction", "--skip-lock-tables", "--skip-add-locks", "--skip-disable-keys",
    "--quick", "--hex-blob", "--triggers", "--no-tablespaces", "--comments",
    "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
)  # fmt: skip
OF_MYSQL: Final = ("--set-gtid-purged=OFF", "--column-statistics=0")
WHOLE: Final = ("--routines", "--events")
MAY_NOT_READ: Final = (
    "Grant the account what the message names (for a routine of another definer: SELECT on mysql.proc"
    " of MariaDB, SHOW_ROUTINE of MySQL), or correct the object that it names."
)
HISTORY: Final = "--dump-history"
HISTORY_SINCE: Final = (10, 11)
"""The first MariaDB that takes the history of a system-versioned table back, and whose program dumps it."""
LIBRARY: Final = "LIBRARY"
UNFINISHED: Final = ".sql.zst.tmp"
TRAILER: Final = b"-- Dump completed"
NO_PLACE: Final = re.compile(r"error: (\d+)")
FULL_PAUSE_SECONDS: Final = 0.05
STDERR_BYTES: Final = 64 << 10
STOP_SECONDS: Final = 10.0
SPARE_BYTES: Final = 1 << 20

ALL_TABLES: Final = "SHOW FULL TABLES"
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
    """See Session.backup."""
    tenant = opened.tenant
    connection = opened.connection
    own = await opened.reader.listing(connection)
    listing = await opened.reader.listing(connection, also=_about_to_change(opened, pending))
    mark = await opened.reader.mark(connection)
    broken = await broken_views(connection, opened.names, listing.views)
    program = await dump_program(connection.server, opened.shared.dump_programs, tenant=tenant)
    await _require_fit(opened, program, listing)
    await _require_seen(opened)
    more = await _history(opened, listing)
    covers = f"prefix {opened.names.prefix}" if opened.names.prefix else "database"
    found = await opened.table.read(connection, bodies=True)
    charset, collation = (await connection.fetch(DEFAULTS))[0]
    try:
        await anyio.to_thread.run_sync(_require_room, destination, listing.bytes)
        with anyio.fail_after(deadline_seconds):
            async with _temporary(destination) as (temporary, file):
                writer = Writer(file)
                whole = _without(listing, broken)
                await _dump(opened, program, whole, writer, more)
                contents = Contents(
                    sql_bytes=writer.sql_bytes,
                    covers=covers,
                    fingerprint=mark.fingerprint or "",
                    entries=tuple(found.entries.values()),
                    charset=charset,
                    collation=collation,
                    database=opened.names.database,
                    names=_held(listing) if opened.names.prefix else (),
                    beyond=tuple(one for one in _held(listing) if one not in _held(own)),
                    beside=listing.beside if opened.names.prefix else (),
                    broken=broken,
                )
                sha256 = await anyio.to_thread.run_sync(_finish, writer, contents, temporary)
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
    return Backup(
        path=destination,
        bytes=writer.bytes,
        sha256=sha256,
        format="sql.zst",
        covers=covers,
        fingerprint=mark.fingerprint or "",
        left_out=tuple(name for _, name in listing.unclear),
        broken=tuple(one.name for one in broken),
    )


def _without(listing: Listing, broken: Sequence[BrokenView]) -> Listing:
    """What the program can dump."""
    names = {one.name for one in broken}
    return msgspec.structs.replace(
        listing, views=tuple(name for name in listing.views if name not in names)
    )


def _about_to_change(opened: Opened, pending: Sequence[str]) -> Claimed:
    """What is there already and pending migrations change: a backup from before them needs it."""
    touches = opened.target.touches
    names = (touches[one].of(opened.names.prefix).altered for one in pending if one in touches)
    return Claimed(names=frozenset().union(*names))


def _held(listing: Listing) -> tuple[str, ...]:
    return tuple(sorted({*listing.names, *(name for _, name in listing.programs)}))


def _finish(writer: Writer, contents: Contents, temporary: Path) -> str:
    """End the file and read it as a restore will: its SHA-256. Raises OSError, ValueError."""
    sha256 = writer.finish(contents)
    for _ in statements(read_sql(temporary, limit_bytes=contents.sql_bytes)):
        pass
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
    """MySQL shows no trigger to who lacks the privilege; MariaDB names it, and the dump fails. Raises BackupError."""
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
        await anyio.to_thread.run_sync(_give_name, temporary, destination)
        failpoints.reach("backup.after_rename")
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed backups have left: who is still writing holds a lock on it."""
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


def _give_name(temporary: Path, destination: Path) -> None:
    """A link, not a rename: it does not replace a file that came in between."""
    os.link(temporary, destination, follow_symlinks=False)
    temporary.unlink()
    folder = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def _dump(
    opened: Opened,
    program: DumpProgram,
    listing: Listing,
    writer: Writer,
    more: tuple[str, ...],
) -> None:
    # Before the functions that use them; not every dump program knows libraries.
    await _dump_programs(opened, writer, [one for one in listing.programs if one[0] == LIBRARY])
    own = (*listing.tables, *listing.views, *listing.sequences)
    if own or not opened.names.prefix:
        arguments = await _arguments(opened, program, own, more)
        deadline = anyio.current_time() + opened.shared.connect_seconds
        pause = FULL_PAUSE_SECONDS
        while not await _attempt(
            opened, program, arguments, writer, last=anyio.current_time() + pause >= deadline
        ):
            await anyio.sleep(pause)
            pause = min(pause * 2, 1.0)
    if opened.names.prefix:
        others = [one for one in listing.programs if one[0] != LIBRARY]
        await _dump_programs(opened, writer, others)


async def _dump_programs(
    opened: Opened, writer: Writer, programs: Sequence[tuple[str, str]]
) -> None:
    for kind, name in programs:
        found = await read_program(opened.connection, kind, name)
        if found is None:
            raise BackupError(
                f"the account may not read {kind.lower()} {name}, so that it cannot be backed up",
                hint=MAY_NOT_READ,
                tenant=opened.tenant,
            )
        await anyio.to_thread.run_sync(writer.write, _program_sql(kind, name, found))


async def _attempt(
    opened: Opened,
    program: DumpProgram,
    arguments: list[str],
    writer: Writer,
    *,
    last: bool,
) -> bool:
    """One run of the program. False if the server had no place for it and this was not the `last`."""
    password = await read_secret(opened.target.secret)
    with defaults_file(opened.url, password) as (options, descriptors):
        process = await anyio.open_process(
            [program.path, f"--defaults-file={options}", *arguments],
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
            pass_fds=descriptors,
        )
        try:
            return await _pump(opened, process, writer, password, last=last)
        finally:
            await _stop(process)


async def _arguments(
    opened: Opened, program: DumpProgram, own: tuple[str, ...], more: tuple[str, ...]
) -> list[str]:
    """The tables of a prefix are listed; of a whole database, what is not the tenant's is left out."""
    database = opened.names.database
    arguments = [*OPTIONS, *(OF_MYSQL if program.flavor == "mysql" else ()), *more]
    if opened.names.prefix:
        return [*arguments, "--", database, *own]
    rows = await opened.connection.fetch(ALL_TABLES)
    others = sorted({str(row[0]) for row in rows} - set(own))
    arguments += [*WHOLE, *(f"--ignore-table={database}.{name}" for name in others)]
    return [*arguments, "--", database]


def _program_sql(kind: str, name: str, program: Program) -> bytes:
    """A routine, library or event, with what it was created under.

    Its text is in UTF-8 here, which another character set of its own would misread.
    """
    charset = program.charset
    if not (charset.startswith("utf8") or program.text.isascii()):
        charset = "utf8mb4"
    zone = f", time_zone = '{program.time_zone}'" if program.time_zone else ""
    under = (
        f"SET character_set_client = {charset}, collation_connection = {program.collation}{zone};"
    )
    return (
        f"\nSET sql_mode = '{program.sql_mode}';\n{under if program.collation else ''}\n"
        f"DROP {kind} IF EXISTS {quote_identifier(name)};\n"
        f"DELIMITER ;;\n{program.text}\n;;\nDELIMITER ;\n"
        "SET character_set_client = utf8mb4;\n"
    ).encode("utf-8", "surrogateescape")


async def _pump(
    opened: Opened,
    process: Process,
    writer: Writer,
    password: Secret | None,
    *,
    last: bool,
) -> bool:
    """Take the dump in; raise BackupError unless it came to its end and said so.

    False if it was turned away from a full server before anything, and is not the `last`.
    """
    stderr = bytearray()
    tail = b""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the dump's output is not piped")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, process.stderr, stderr)
        pending = bytearray()
        async for chunk in process.stdout:
            pending += chunk
            if len(pending) >= CHUNK_BYTES:
                tail = await _write(writer, pending, tail)
        tail = await _write(writer, pending, tail)
    failpoints.reach("backup.half_written")
    code = await process.wait()
    if code != 0 or TRAILER not in tail:
        words = stderr.decode("utf-8", "replace").strip()
        refused = NO_PLACE.search(words)
        if not last and not writer.sql_bytes and refused and int(refused[1]) in SERVER_FULL:
            return False
        if password is not None and password.reveal():
            words = words.replace(password.reveal(), "***")
        what = f"ended with exit code {code}" if code else "did not come to its end"
        raise BackupError(
            f"the dump {what}: {words or 'it said nothing'}",
            hint=MAY_NOT_READ,
            tenant=opened.tenant,
        )
    return True


async def _write(writer: Writer, pending: bytearray, tail: bytes) -> bytes:
    data = bytes(pending)
    pending.clear()
    await anyio.to_thread.run_sync(writer.write, data)
    return (tail + data)[-200:]


async def _listen(stream: ByteReceiveStream, said: bytearray) -> None:
    async for chunk in stream:
        said += chunk[: max(0, STDERR_BYTES - len(said))]


async def _stop(process: Process) -> None:
    """End a dump that is still running, and wait for it; bounded and shielded."""
    with anyio.move_on_after(STOP_SECONDS, shield=True):
        if process.returncode is None:
            process.kill()
        await process.aclose()
