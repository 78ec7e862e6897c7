"""Running a dump program, and writing what it leaves out: libraries, and a prefix tenant's routines and events.

Invariant: a dump counts only if the program ended with 0 and wrote its last line.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from ledger import failpoints
from ledger.drivers.mysql import quote_identifier
from ledger.drivers.mysql_errors import SERVER_FULL
from ledger.drivers.secrets import read_secret
from ledger.drivers.url import Secret
from ledger.engines.mysql.backup.clients import (
    DumpProgram,
    cannot_start,
    clean_environment,
    defaults_file,
)
from ledger.engines.mysql.backup.container import CHUNK_BYTES, Writer
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.model import Listing
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
LIBRARY: Final = "LIBRARY"
TRAILER: Final = b"-- Dump completed"
NO_PLACE: Final = re.compile(r"error: (\d+)")
FULL_PAUSE_SECONDS: Final = 0.05
STDERR_BYTES: Final = 64 << 10
STOP_SECONDS: Final = 10.0
ALL_TABLES: Final = "SHOW FULL TABLES"


async def dump(
    opened: Opened,
    program: DumpProgram,
    listing: Listing,
    writer: Writer,
    more: tuple[str, ...],
) -> None:
    """Write the SQL of what is listed. Raises BackupError, OSError."""
    # Before the functions that use them; not every dump program knows libraries.
    await _dump_programs(
        opened, writer, [program for program in listing.programs if program[0] == LIBRARY]
    )
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
        others = [program for program in listing.programs if program[0] != LIBRARY]
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
        try:
            process = await anyio.open_process(
                [program.path, f"--defaults-file={options}", *arguments],
                stdin=subprocess.DEVNULL,
                env=clean_environment(),
                pass_fds=descriptors,
            )
        except OSError as error:
            raise cannot_start(program.path, error, tenant=opened.tenant) from error
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
