"""Old rows into a file, and out of the table, under a claim.

Invariant: rows leave the table only once the file is durable under its own name and
was read back; a file stays until its event is recorded, and is reused until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.engines.maintain import Archivable, Old
from ledger.errors import BackupError
from ledger.maintain.claim import maintenance_claim
from ledger.maintain.cutoff import Cutoff
from ledger.maintain.file import (
    SUFFIX,
    ArchiveMeta,
    ArchiveWriter,
    Verified,
    archives_in,
    read_lines,
    read_meta,
    sweep,
    verify,
)
from ledger.maintain.report import TenantMaintenance
from ledger.runner.backups import make_folder
from ledger.runner.context import RunContext
from ledger.runner.held import Held
from ledger.stores.base import Filter


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A whole archive file of this tenant for which there is no event: a run was killed after writing it."""

    path: Path
    meta: ArchiveMeta


async def _waiting_files(ctx: RunContext, target: Target) -> list[Waiting]:
    """Files that an earlier run left without their event, oldest first. Raises BackupError."""
    recorded: set[str] = set()
    where = Filter(stream=f"tenant/{target.name}", types=("maintained",))
    async for rows in ctx.store.read(where):
        for row in rows:
            if isinstance(row.data, ev.Maintained):
                recorded.add(row.data.file)
    folder = ctx.settings.backups / target.name
    try:
        return await anyio.to_thread.run_sync(_unrecorded, folder, recorded, ctx.ledger_id, target)
    except (OSError, ValueError) as error:
        raise BackupError(
            f"an archive file cannot be used: {error}",
            hint="Look at it, and move it out of the folder; rows in it may still be in the table.",
            tenant=target.name,
        ) from error


def _unrecorded(folder: Path, recorded: set[str], ledger: str, target: Target) -> list[Waiting]:
    found = []
    for path in archives_in(folder):
        if str(path) in recorded:
            continue
        meta = read_meta(path)
        if (meta.ledger, meta.tenant) == (ledger, target.name):
            found.append(Waiting(path=path, meta=meta))
    return found


async def _verified_file(
    held: Held, what: Archivable, before: datetime, batch: int, path: Path | None
) -> Verified:
    """The verified file: the one that waits at `path`, or a new one. Raises BackupError."""
    target, ctx = held.target, held.ctx
    try:
        if path is not None:
            return await anyio.to_thread.run_sync(verify, path)
        return await _write(held, what, before, batch)
    except (OSError, ValueError) as error:
        raise BackupError(
            f"the archive cannot be written to {ctx.settings.backups / target.name}: {error}"
            if path is None
            else f"the archive {path} of an interrupted run cannot be used: {error}",
            hint="No row was deleted; check the folder and its free space, then run it again.",
            tenant=target.name,
        ) from error


async def _write(held: Held, what: Archivable, before: datetime, batch: int) -> Verified:
    target, ctx = held.target, held.ctx
    folder = ctx.settings.backups / target.name
    await anyio.to_thread.run_sync(make_folder, folder, ctx.durable)
    await anyio.to_thread.run_sync(sweep, folder)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    safe = "".join(char if char.isalnum() or char in "_-$" else "_" for char in what.table)
    name = f"{target.name}_archive_{safe}_{stamp}{SUFFIX}"
    writer = await anyio.to_thread.run_sync(ArchiveWriter, folder / name)
    try:
        last: bytes | None = None
        while lines := await held.session.maintenance().lines(
            what, before=before, after=last, limit=batch
        ):
            await anyio.to_thread.run_sync(writer.write, lines)
            last = lines[-1]
            ctx.check_lease(target.name)
        meta = ArchiveMeta(
            ledger=ctx.ledger_id,
            tenant=target.name,
            table=what.table,
            column=what.column,
            before=before.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        )
        return await anyio.to_thread.run_sync(writer.publish, meta)
    except BaseException:
        writer.discard()
        raise


async def _move_rows(held: Held, what: Archivable, file: Verified, batch: int) -> tuple[int, int]:
    """Delete the file's rows from the table; how many are out of it now, and how many stay.

    Those that an earlier, killed run has deleted already count as out.
    """
    maintenance = held.session.maintenance()
    source = read_lines(file.path, batch=batch)
    left = 0
    while lines := await anyio.to_thread.run_sync(_next, source):
        _, kept = await maintenance.remove(what, lines, epoch=held.epoch, ledger=held.ctx.ledger_id)
        left += kept
        held.ctx.check_lease(held.target.name)
    return file.meta.rows - left, left


def _next(source: Iterator[list[bytes]]) -> list[bytes]:
    return next(source, [])


async def old_and_waiting(
    ctx: RunContext, target: Target, session: Session, cutoff: Cutoff
) -> tuple[Old, list[Waiting]]:
    """What is old, and the files of this table that an earlier run left without their event."""
    maintenance = session.maintenance()
    what = await maintenance.archivable(cutoff.table, cutoff.column)
    old = await maintenance.old(what, before=cutoff.before)
    waiting = await _waiting_files(ctx, target)
    return old, [file for file in waiting if file.meta.table == what.table]


async def archive_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    cutoff: Cutoff,
    batch: int,
) -> TenantMaintenance:
    """Finish what an earlier run has begun; then one file for what is old now."""
    total = TenantMaintenance(tenant=target.name, task="archive", result="current")
    while True:
        old, waiting = await old_and_waiting(ctx, target, session, cutoff)
        total = msgspec.structs.replace(total, held=old.held, unreadable=old.unreadable)
        if not waiting and not old.rows:
            return total
        event = await _one_file(ctx, engine, target, session, cutoff, batch, waiting)
        notes = total.notes
        if event.notes:
            notes = (*notes, *(note for note in event.notes if note not in notes))
        total = msgspec.structs.replace(
            total,
            result="maintained",
            rows=total.rows + event.rows,
            old=total.old + event.rows,
            file=event.file,
            sha256=event.sha256,
            bytes_before=event.bytes_before if total.bytes_before is None else total.bytes_before,
            bytes_after=event.bytes_after,
            notes=notes,
        )
        if not waiting:
            return total


async def _one_file(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    cutoff: Cutoff,
    batch: int,
    waiting: list[Waiting],
) -> ev.Maintained:
    async with maintenance_claim(ctx, engine, target, session) as held:
        before = await session.mark()
        column = waiting[0].meta.column if waiting else cutoff.column
        what = await session.maintenance().archivable(cutoff.table, column)
        path = waiting[0].path if waiting else None
        file = await _verified_file(held, what, cutoff.before, batch, path)
        rows, left = await _move_rows(held, what, file, batch)
        notes = (f"{left} rows changed meanwhile and stay",) if left else ()
        mark = await session.mark()
        event = ev.Maintained(
            task="archive",
            rows=rows,
            tables=(ev.MaintainedTable(table=what.table, rows=rows),),
            table=what.table,
            column=column,
            before=file.meta.before,
            file=str(file.path),
            file_bytes=file.bytes,
            sha256=file.sha256,
            bytes_before=before.bytes,
            bytes_after=mark.bytes,
            notes=notes,
            duration_us=held.lap_us(),
            reason=ctx.reason,
            mark=mark,
        )
        await held.end(event)
    return event
