"""Maintaining one tenant under a claim: optimise, mend orphans, move old rows to a file.

Invariant: nothing is claimed, and no event written, where nothing is to do; a row is
deleted only after the file that holds it was verified; a file without its event is
finished by the next run and never written twice.
"""

from __future__ import annotations

import time

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.engines.maintain import Orphans
from ledger.errors import LedgerError
from ledger.runner.archive import archive_tenant, old_and_waiting
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.held import Held
from ledger.runner.maintenance import Order, TenantMaintenance, failed, maintenance_claim

SAMPLES = 5


async def look_at_tenant(
    ctx: RunContext, engine: Engine, target: Target, order: Order
) -> TenantMaintenance:
    """What there is to do; reads only. A tenant's error is in the value."""
    began = time.perf_counter_ns()
    try:
        async with engine.open(target) as session:
            if order.task == "orphans":
                found = await find_orphans(session)
                seen = TenantMaintenance(
                    tenant=target.name,
                    task=order.task,
                    result="found" if found else "current",
                    found=found,
                )
            else:
                old, waiting = await old_and_waiting(ctx, target, session, order)
                seen = TenantMaintenance(
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


async def maintain_tenant(
    ctx: RunContext, engine: Engine, target: Target, order: Order
) -> TenantMaintenance:
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
                        done = await archive_tenant(ctx, engine, target, session, order)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failed(target.name, order.task, error)
    return msgspec.structs.replace(done, duration_us=_since(began))


async def find_orphans(session: Session) -> tuple[Orphans, ...]:
    """The declared foreign keys that some rows break."""
    maintenance = session.maintenance()
    found = [
        await maintenance.orphans(reference, samples=SAMPLES)
        for reference in await maintenance.references()
    ]
    return tuple(one for one in found if one.count)


async def _optimize(
    ctx: RunContext, engine: Engine, target: Target, session: Session
) -> TenantMaintenance:
    async with maintenance_claim(ctx, engine, target, session) as held:
        before = await session.mark()
        tables, notes = await session.maintenance().optimize(
            epoch=held.epoch, ledger=ctx.ledger_id, deadline_seconds=ctx.settings.statement_seconds
        )
        mark = await session.mark()
        await held.end(
            ev.Maintained(
                task="optimize",
                tables=tuple(ev.Upkept(table=table) for table in tables),
                bytes_before=before.bytes,
                bytes_after=mark.bytes,
                notes=notes,
                duration_us=held.lap_us(),
                reason=ctx.reason,
                mark=mark,
            )
        )
    return TenantMaintenance(
        tenant=target.name,
        task="optimize",
        result="maintained",
        bytes_before=before.bytes,
        bytes_after=mark.bytes,
        notes=notes,
    )


async def _mend(
    ctx: RunContext, engine: Engine, target: Target, session: Session, order: Order
) -> TenantMaintenance:
    found = await find_orphans(session)
    notes = tuple(
        f"{one.reference.name}: {one.count} rows are left, since {one.reference.missing}"
        for one in found
        if one.reference.missing
    )
    seen = TenantMaintenance(
        tenant=target.name, task="orphans", result="current", found=found, notes=notes
    )
    if len(notes) == len(found):
        return seen
    async with maintenance_claim(ctx, engine, target, session) as held:
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
    maintenance = held.session.maintenance()
    references = [
        reference for reference in await maintenance.references() if not reference.missing
    ]
    rows: dict[tuple[str, str], int] = {}
    again = True
    while again:
        again = False
        for one in references:
            while count := await maintenance.mend(
                one, limit=batch, epoch=held.epoch, ledger=held.ctx.ledger_id
            ):
                held.ctx.check_lease(held.target.name)
                key = (one.table, one.name)
                rows[key] = rows.get(key, 0) + count
                again = True
    return tuple(
        ev.Upkept(table=table, constraint=name, rows=count) for (table, name), count in rows.items()
    )


def _since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000
