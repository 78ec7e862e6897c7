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
from ledger.maintain.archive import archive_tenant, old_and_waiting
from ledger.maintain.claim import maintenance_claim
from ledger.maintain.cutoff import Cutoff
from ledger.maintain.report import TenantMaintenance, failed
from ledger.requests import Maintain, Task
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.held import Held

SAMPLES = 5


async def look_at_tenant(
    ctx: RunContext, engine: Engine, target: Target, cutoff: Cutoff | None
) -> TenantMaintenance:
    """The old rows there are, or without a `cutoff` the orphans; reads only. A tenant's error is in the value."""
    task: Task = "orphans" if cutoff is None else "archive"
    began = time.perf_counter_ns()
    try:
        async with engine.open(target) as session:
            if cutoff is None:
                found = await find_orphans(session)
                seen = TenantMaintenance(
                    tenant=target.name,
                    task=task,
                    result="found" if found else "current",
                    found=found,
                )
            else:
                old, waiting = await old_and_waiting(ctx, target, session, cutoff)
                seen = TenantMaintenance(
                    tenant=target.name,
                    task=task,
                    result="found" if old.rows or waiting else "current",
                    old=old.rows,
                    held=old.held,
                    unreadable=old.unreadable,
                    waiting=tuple(str(file.path) for file in waiting),
                )
    except LedgerError as error:
        return failed(target.name, task, error)
    return msgspec.structs.replace(seen, duration_us=elapsed_us(began))


async def maintain_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    request: Maintain,
    cutoff: Cutoff | None,
) -> TenantMaintenance:
    """Do the task. A tenant's error is in the value; only cancellation leaves as an exception."""
    began = time.perf_counter_ns()
    try:
        while True:
            try:
                async with engine.open(target) as session:
                    if request.task == "optimize":
                        done = await _optimize(ctx, engine, target, session)
                    elif cutoff is None:
                        done = await _mend(ctx, engine, target, session, request.batch)
                    else:
                        done = await archive_tenant(
                            ctx, engine, target, session, cutoff, request.batch
                        )
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failed(target.name, request.task, error)
    return msgspec.structs.replace(done, duration_us=elapsed_us(began))


async def find_orphans(session: Session) -> tuple[Orphans, ...]:
    """The declared foreign keys that some rows break."""
    maintenance = session.maintenance()
    found = [
        await maintenance.orphans(reference, samples=SAMPLES)
        for reference in await maintenance.references()
    ]
    return tuple(orphans for orphans in found if orphans.count)


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
                tables=tuple(ev.MaintainedTable(table=table) for table in tables),
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
    ctx: RunContext, engine: Engine, target: Target, session: Session, batch: int
) -> TenantMaintenance:
    found = await find_orphans(session)
    notes = tuple(
        f"{orphans.reference.name}: {orphans.count} rows are left, since {orphans.reference.missing}"
        for orphans in found
        if orphans.reference.missing
    )
    seen = TenantMaintenance(
        tenant=target.name, task="orphans", result="current", found=found, notes=notes
    )
    if len(notes) == len(found):
        return seen
    async with maintenance_claim(ctx, engine, target, session) as held:
        before = await session.mark()
        mended = await _until_none(held, batch)
        mark = await session.mark()
        await held.end(
            ev.Maintained(
                task="orphans",
                rows=sum(table.rows for table in mended),
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
        rows=sum(table.rows for table in mended),
        bytes_before=before.bytes,
        bytes_after=mark.bytes,
    )


async def _until_none(held: Held, batch: int) -> tuple[ev.MaintainedTable, ...]:
    """Mend key after key, and again, since a deleted child leaves its own children behind."""
    maintenance = held.session.maintenance()
    references = [
        reference for reference in await maintenance.references() if not reference.missing
    ]
    rows: dict[tuple[str, str], int] = {}
    again = True
    while again:
        again = False
        for reference in references:
            while count := await maintenance.mend(
                reference, limit=batch, epoch=held.epoch, ledger=held.ctx.ledger_id
            ):
                held.ctx.check_lease(held.target.name)
                key = (reference.table, reference.name)
                rows[key] = rows.get(key, 0) + count
                again = True
    return tuple(
        ev.MaintainedTable(table=table, constraint=name, rows=count)
        for (table, name), count in rows.items()
    )
