"""Bringing a tenant back to a backup, in the session that holds its lock.

The marker is not part of the dump: it stays, says `restoring` while the content is
replaced, and gets the backup's entries in one transaction at the end. Invariant:
nothing is dropped before the file's hash and form, and that server and account will
take it, have been checked; an interrupted restore refuses to be migrated and is simply repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ledger import failpoints
from ledger.drivers.mysql import NO_DEADLINE, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.backups import require_sha256
from ledger.engines.checks import require_fingerprint
from ledger.engines.entries import settled
from ledger.engines.mysql.backup import broken_views
from ledger.engines.mysql.backup.container import (
    BrokenView,
    Contents,
    read_contents,
    read_sql,
)
from ledger.engines.mysql.backup.dumpfile import statements
from ledger.engines.mysql.backup.restorable import Asked, asked, known_of, require_taken
from ledger.engines.mysql.backup.routine_grants import grant_again, read_grants
from ledger.engines.mysql.drop import drop_object
from ledger.engines.mysql.lock.fence import with_restoring
from ledger.engines.mysql.lock.marker import RoutineGrant
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.trouble import LOCK_WAIT, locked
from ledger.errors import RestoreError

READ_FENCE_EVERY: Final = 64
"""Statements between two reads of the fence, for servers whose lock does not hold."""

_HEAD_CHARACTERS: Final = 60
_USED: Final = re.compile(r"\n *USING \([^\n]*\)(?=\n)")
"""The libraries of a routine, which the server writes with their database."""


async def restore(
    opened: Opened,
    backup: Path,
    *,
    sha256: str,
    epoch: int,
    ledger: str,
    deadline_seconds: float,
    fingerprint: str,
    unmade: list[str] | None,
) -> None:
    """Replace the tenant's content; the fence stands at `epoch` already. Raises RestoreError, FencedError."""
    await broken_views.sweep(opened)
    contents = await checked(opened, backup, sha256)
    try:
        with anyio.fail_after(deadline_seconds):
            grants = await _say(opened, contents, epoch=epoch, restoring=backup.name)
            failpoints.reach("restore.before_write")
            standing = await broken_views.as_backed_up(opened, contents.broken)
            await _drop_all(opened, contents, standing)
            await _set_defaults(opened, contents)
            # Over nothing but stand-ins, which also have the columns that its own tables lack.
            left: Sequence[BrokenView] = [
                view for view in contents.broken if view.name not in standing
            ]
            left = await broken_views.make_again(opened, left, contents.broken)
            await _feed(opened, backup, contents, epoch=epoch)
            left = await broken_views.make_again(opened, left, contents.broken)
            await grant_again(opened, grants)
            failpoints.reach("restore.after_write")
            await opened.renew(epoch=epoch, ledger=ledger)
            await _replace_entries(opened, contents, epoch=epoch)
            state = await opened.reader.state(
                opened.connection,
                also=known_of(contents),
                but={*contents.beyond, *contents.beside},
            )
            if not left:
                require_fingerprint(state.mark, fingerprint, tenant=opened.tenant)
            elif unmade is not None:
                unmade += [view.name for view in left]
    except TimeoutError:
        raise RestoreError(
            f"the restore was not done within {deadline_seconds:g} s; the tenant holds a part of it",
            hint="Raise the deadline for backups and run the restore again.",
            tenant=opened.tenant,
        ) from None
    except ValueError as error:
        raise _unusable(opened, backup, str(error)) from error


async def checked(opened: Opened, backup: Path, sha256: str) -> Contents:
    """The file is what was recorded, whole, and will be taken here. Raises RestoreError."""
    try:
        await anyio.to_thread.run_sync(require_sha256, backup, sha256)
        contents = await anyio.to_thread.run_sync(read_contents, backup)
        wanted = await anyio.to_thread.run_sync(_read_through, backup, contents.sql_bytes)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _unusable(opened, backup, str(reason)) from error
    await require_taken(opened, wanted, contents)
    return contents


def _read_through(backup: Path, sql_bytes: int) -> Asked:
    return asked(statements(read_sql(backup, limit_bytes=sql_bytes)))


def _unusable(opened: Opened, backup: Path, reason: str) -> RestoreError:
    return RestoreError(
        f"the backup {backup} cannot be used: {reason}",
        hint="Choose another backup (`ledger backups` lists them).",
        tenant=opened.tenant,
    )


async def _say(
    opened: Opened, contents: Contents, *, epoch: int, restoring: str
) -> tuple[RoutineGrant, ...]:
    """Make the marker say that a restore is under way, and which privileges are to be granted again.

    Raises FencedError.
    """
    found = await opened.table.read(opened.connection, bodies=True)
    listing = await opened.reader.listing(opened.connection, also=known_of(contents))
    grants = tuple(dict.fromkeys((*found.fence.grants, *await read_grants(opened, listing))))
    await opened.table.replace_all(
        opened.connection,
        found.entries.values(),
        epoch=epoch,
        fence=with_restoring(found, restoring, grants),
    )
    return grants


async def _replace_entries(opened: Opened, contents: Contents, *, epoch: int) -> None:
    now = await opened.table.read(opened.connection)
    await opened.table.replace_all(
        opened.connection,
        [
            msgspec.structs.replace(
                settled(entry) if entry.state == "applied" else entry,
                epoch=min(entry.epoch, epoch),
            )
            for entry in contents.entries
        ],
        epoch=epoch,
        fence=with_restoring(now, ""),
    )


async def _drop_all(opened: Opened, contents: Contents, standing: frozenset[str]) -> None:
    """The tenant's own objects, apart from the marker, what was left out of the backup, and views
    that are `standing` as they were then.

    Routines and events first: if the account may not drop one, no row is gone yet.
    """
    connection = opened.connection
    listing = await opened.reader.listing(
        connection, also=known_of(contents), but=frozenset(contents.beside)
    )
    # The dump's rows have no COMMIT behind them, whatever the tenant's `session` has set.
    await connection.execute("SET SESSION foreign_key_checks = 0, autocommit = 1")
    names = list(listing.programs)
    names += [("VIEW", name) for name in listing.views if name not in standing]
    names += [("TABLE", name) for name in listing.tables]
    names += [("SEQUENCE", name) for name in listing.sequences]
    for kind, name in names:
        await drop_object(connection, kind, name)


async def _set_defaults(opened: Opened, contents: Contents) -> None:
    """What a table without a character set of its own gets; a prefix tenant's is not its own."""
    words = (contents.charset, contents.collation)
    if opened.names.prefix or not all(re.fullmatch(r"\w+", word) for word in words):
        return
    await opened.connection.execute(
        f"ALTER DATABASE {quote_identifier(opened.names.database)}"
        f" CHARACTER SET {contents.charset} COLLATE {contents.collation}"
    )


async def _feed(opened: Opened, backup: Path, contents: Contents, *, epoch: int) -> None:
    """Run the dump's statements one after the other."""
    connection = opened.connection
    source = statements(read_sql(backup, limit_bytes=contents.sql_bytes))
    number = fed = 0
    half = False
    elsewhere = _sequences_of(contents.database, opened.names.database)
    while True:
        batch = await anyio.to_thread.run_sync(_next, source)
        if not batch:
            return
        for text in batch:
            number += 1
            fed += len(text)
            sql = text.decode("utf-8", "surrogateescape")
            if elsewhere and sql.startswith("CREATE TABLE"):
                sql = elsewhere.sub("nextval(", sql)
            elif elsewhere and sql.startswith("CREATE"):
                sql = _USED.sub(
                    lambda used: used[0].replace(quote_identifier(contents.database) + ".", ""),
                    sql,
                    1,
                )
            try:
                await connection.execute(sql, seconds=NO_DEADLINE)
            except QueryError as error:
                if error.code == LOCK_WAIT:
                    raise locked(
                        error,
                        opened.target,
                        "restore",
                        stays="; the tenant holds a part of the backup",
                    ) from error
                raise RestoreError(
                    f"statement {number} of the backup ({_head(sql)}) was refused: {error}",
                    hint="Correct what the message names and run the restore again; the tenant holds "
                    "a part of the backup.",
                    tenant=opened.tenant,
                ) from error
            if not half and fed * 2 >= contents.sql_bytes:
                half = True
                failpoints.reach("restore.half_written")
        rows = await opened.table.read(connection)
        if rows.epoch != epoch:
            await opened.table.lock_fence(connection, epoch=epoch)


def _sequences_of(source: str, database: str) -> re.Pattern[str] | None:
    """How a column's default names a sequence of the database that was backed up, if this is another.

    It and what a routine uses are the only places where a dump names its database; a rehearsal
    would take the live
    tenant's values.
    """
    if source in ("", database):
        return None
    return re.compile(rf"\bnextval\({re.escape(quote_identifier(source))}\.", re.IGNORECASE)


def _next(source: Iterator[bytes]) -> list[bytes]:
    """The next statements, a megabyte or so of them."""
    batch: list[bytes] = []
    size = 0
    for text in source:
        batch.append(text)
        size += len(text)
        if size >= 1 << 20 or len(batch) >= READ_FENCE_EVERY:
            break
    return batch


def _head(sql: str) -> str:
    """The statement's beginning without its data."""
    head = " ".join(sql[:_HEAD_CHARACTERS].split())
    return head.partition(" VALUES")[0].partition(" values")[0]
