"""Maintaining one tenant under a claim: optimise, mend orphans, move old rows to a file.

Invariant: nothing is claimed, and no event written, where nothing is to do; a row is
deleted only after the file that holds it was verified; a file without its event is
finished by the next run and never written twice.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.engines.upkeep import Old, Orphans
from ledger.errors import LedgerError, MarkerMismatchError, TenantError
from ledger.runner.archive import Waiting, count_old, move_rows, waiting_files, write_file
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.held import Held, claimed

Task = Literal["optimize", "orphans", "archive"]
SAMPLES = 5


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted. `before` is the moment that old rows are older than; `apply` changes rows."""

    task: Task
    apply: bool = False
    batch: int = 1000
    table: str = ""
    column: str = ""
    before: datetime | None = None


class Upkeep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What maintenance found, and did, on one tenant.

    `rows` were deleted, mended or moved; `found` are the orphans there were. `old` are rows
    that may be archived, `held` old ones that others refer to, `unreadable` ones without a
    time. `file` and `sha256` are the archive's. `error` is a stable word.
    """

    tenant: str
    task: Task
    result: Literal["current", "found", "maintained", "failed"] = "current"
    rows: int = 0
    found: tuple[Orphans, ...] = ()
    old: int = 0
    held: int = 0
    unreadable: int = 0
    file: str = ""
    sha256: str = ""
    waiting: tuple[str, ...] = ()
    bytes_before: int | None = None
    bytes_after: int | None = None
    notes: tuple[str, ...] = ()
    duration_us: int = 0
    error: str | None = None
    message: str = ""
    hint: str = ""


async def look_at_tenant(ctx: RunContext, engine: Engine, target: Target, order: Order) -> Upkeep:
    """What there is to do; reads only. A tenant's error is in the value."""
    began = time.perf_counter_ns()
    try:
        async with engine.open(target) as session:
            if order.task == "orphans":
                found = await find_orphans(session)
                seen = Upkeep(
                    tenant=target.name,
                    task=order.task,
                    result="found" if found else "current",
                    found=found,
                )
            else:
                old, waiting = await _old_and_waiting(ctx, target, session, order)
                seen = Upkeep(
                    tenant=target.name,
                    task=order.task,
                    result="found" if old.rows or waiting else "current",
                    old=old.rows,
                    held=old.held,
                    unreadable=old.unreadable,
                    waiting=tuple(str(one.path) for one in waiting),
                )
    except LedgerError as error:
        return failed(target.name, order.task, error)
    return msgspec.structs.replace(seen, duration_us=_since(began))


async def maintain_tenant(ctx: RunContext, engine: Engine, target: Target, order: Order) -> Upkeep:
    """Do the task. A tenant's error is in the value; only cancellation leaves as an exception."""
    began = time.perf_counter_ns()
    try:
        while True:
            try:
                async with engine.open(target) as session:
                    if order.task == "optimize":
                        done = await _optimize(ctx, engine, target, session)
                    elif order.task == "orphans":
                        done = await _mend(ctx, engine, target, session, order)
                    else:
                        done = await _archive(ctx, engine, target, session, order)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failed(target.name, order.task, error)
    return msgspec.structs.replace(done, duration_us=_since(began))


def failed(tenant: str, task: Task, error: LedgerError) -> Upkeep:
    """The value of a tenant that met an error."""
    return Upkeep(
        tenant=tenant,
        task=task,
        result="failed",
        error=getattr(error, "code", "failed"),
        message=error.message,
        hint=error.hint,
    )


async def find_orphans(session: Session) -> tuple[Orphans, ...]:
    """The declared foreign keys that some rows break."""
    upkeep = session.upkeep()
    found = [await upkeep.orphans(one, samples=SAMPLES) for one in await upkeep.references()]
    return tuple(one for one in found if one.count)


@asynccontextmanager
async def _claimed(
    ctx: RunContext, engine: Engine, target: Target, session: Session
) -> AsyncIterator[Held]:
    """A claim on a tenant that is where the ledger believes it to be. Raises TenantError."""
    async with claimed(ctx, engine, target, session) as held:
        marker = held.found
        if marker is None:
            marker = await session.fence(epoch=held.epoch, ledger=ctx.ledger_id)
        state = ctx.state(target.name)
        have = {(ref.set, ref.version) for ref in state.applied}
        entries = marker.entries
        has = {(one.ref.set, one.ref.version) for one in entries if one.state == "applied"}
        midway = state.intent is not None or bool(state.landed)
        midway = midway or any(one.state == "running" for one in entries)
        in_doubt = state.failure is not None and state.failure.in_doubt
        if midway or in_doubt:
            raise TenantError(
                "stands in the middle of a migration",
                hint="Bring that to its end first: `ledger migrate`, or `ledger resolve`.",
                tenant=target.name,
            )
        if have != has:
            # Taking its present look for the known one would hide that it went back.
            raise MarkerMismatchError(
                "the tenant's marker and the ledger disagree on what is applied",
                hint="Run `ledger migrate` for it first; it settles that.",
                tenant=target.name,
            )
        yield held


async def _optimize(ctx: RunContext, engine: Engine, target: Target, session: Session) -> Upkeep:
    async with _claimed(ctx, engine, target, session) as held:
        before = await session.mark()
        tables, notes = await session.upkeep().optimize(
            epoch=held.epoch, ledger=ctx.ledger_id, deadline_seconds=ctx.settings.statement_seconds
        )
        mark = await session.mark()
        await held.end(
            ev.Maintained(
                task="optimize",
                tables=tuple(ev.Upkept(table=one) for one in tables),
                bytes_before=before.bytes,
                bytes_after=mark.bytes,
                notes=notes,
                duration_us=held.lap_us(),
                reason=ctx.reason,
                mark=mark,
            )
        )
    return Upkeep(
        tenant=target.name,
        task="optimize",
        result="maintained",
        bytes_before=before.bytes,
        bytes_after=mark.bytes,
        notes=notes,
    )


async def _mend(
    ctx: RunContext, engine: Engine, target: Target, session: Session, order: Order
) -> Upkeep:
    found = await find_orphans(session)
    notes = tuple(
        f"{one.reference.name}: {one.count} rows are left, since {one.reference.missing}"
        for one in found
        if one.reference.missing
    )
    seen = Upkeep(tenant=target.name, task="orphans", found=found, notes=notes)
    if len(notes) == len(found):
        return seen
    async with _claimed(ctx, engine, target, session) as held:
        before = await session.mark()
        mended = await _until_none(held, order.batch)
        mark = await session.mark()
        await held.end(
            ev.Maintained(
                task="orphans",
                rows=sum(one.rows for one in mended),
                tables=mended,
                bytes_before=before.bytes,
                bytes_after=mark.bytes,
                notes=notes,
                duration_us=held.lap_us(),
                reason=ctx.reason,
                mark=mark,
            )
        )
    return msgspec.structs.replace(
        seen,
        result="maintained",
        rows=sum(one.rows for one in mended),
        bytes_before=before.bytes,
        bytes_after=mark.bytes,
    )


async def _until_none(held: Held, batch: int) -> tuple[ev.Upkept, ...]:
    """Mend key after key, and again, since a deleted child leaves its own children behind."""
    upkeep = held.session.upkeep()
    references = [one for one in await upkeep.references() if not one.missing]
    rows: dict[tuple[str, str], int] = {}
    again = True
    while again:
        again = False
        for one in references:
            while count := await upkeep.mend(
                one, limit=batch, epoch=held.epoch, ledger=held.ctx.ledger_id
            ):
                held.ctx.check_lease(held.target.name)
                key = (one.table, one.name)
                rows[key] = rows.get(key, 0) + count
                again = True
    return tuple(
        ev.Upkept(table=table, constraint=name, rows=count) for (table, name), count in rows.items()
    )


async def _old_and_waiting(
    ctx: RunContext, target: Target, session: Session, order: Order
) -> tuple[Old, list[Waiting]]:
    what, old = await count_old(session, order.table, order.column, _moment(order))
    waiting = await waiting_files(ctx, target)
    return old, [one for one in waiting if one.meta.table == what.table]


def _moment(order: Order) -> datetime:
    if order.before is None:
        raise RuntimeError("an archive order without a moment")
    return order.before


async def _archive(
    ctx: RunContext, engine: Engine, target: Target, session: Session, order: Order
) -> Upkeep:
    """Finish what an earlier run has begun; then one file for what is old now."""
    total = Upkeep(tenant=target.name, task="archive")
    while True:
        old, waiting = await _old_and_waiting(ctx, target, session, order)
        total = msgspec.structs.replace(total, held=old.held, unreadable=old.unreadable)
        if not waiting and not old.rows:
            return total
        one = await _one_file(ctx, engine, target, session, order, waiting)
        notes = total.notes
        if one.notes:
            notes = (*notes, *(note for note in one.notes if note not in notes))
        total = msgspec.structs.replace(
            total,
            result="maintained",
            rows=total.rows + one.rows,
            old=total.old + one.rows,
            file=one.file,
            sha256=one.sha256,
            bytes_before=one.bytes_before if total.bytes_before is None else total.bytes_before,
            bytes_after=one.bytes_after,
            notes=notes,
        )
        if not waiting:
            return total


async def _one_file(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    order: Order,
    waiting: list[Waiting],
) -> ev.Maintained:
    async with _claimed(ctx, engine, target, session) as held:
        before = await session.mark()
        column, moment = order.column, _moment(order)
        if waiting:
            column = waiting[0].meta.column
        what = await session.upkeep().archivable(order.table, column)
        path: Path | None = waiting[0].path if waiting else None
        file = await write_file(held, what, moment, order.batch, path)
        rows, left = await move_rows(held, what, file, order.batch)
        notes = (f"{left} rows changed meanwhile and stay",) if left else ()
        mark = await session.mark()
        event = ev.Maintained(
            task="archive",
            rows=rows,
            tables=(ev.Upkept(table=what.table, rows=rows),),
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


def _since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000
