"""Resetting one tenant: what is recorded, or everything that the migrations created.

Invariant: a tenant is never dropped without a backup taken under the same claim;
what the recorded migrations did not make is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.errors import LedgerError, TenantError
from ledger.events import MigrationRef
from ledger.plan import Catalogue
from ledger.projections import Applied
from ledger.runner import backups
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.held import claimed
from ledger.runner.kept import kept_migration
from ledger.runner.outcome import Outcome, failure
from ledger.scripts.created import Ownership, claim_manifest, fold_section
from ledger.scripts.dropping import DropList, decide_drops
from ledger.scripts.model import Migration
from ledger.stores.base import Filter

EXISTED = ("already exists", "Duplicate key name")
"""What a step's warnings say if its IF NOT EXISTS found the object there."""


class Resetting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a reset would do to one tenant.

    `applied` is what would count as applied afterwards; `drops` are the objects
    that would go, in order, as `KIND NAME`; `left` says what stays and why;
    `problem` why the tenant would be refused.
    """

    tenant: str
    engine: str
    was: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""


class _Ran(msgspec.Struct, kw_only=True):
    """What the tenant's events say of one migration's up steps: numbers, and hashes of what ran.

    `here` is false for one that was only counted as applied (baseline, import).
    """

    skipped: set[int] = msgspec.field(default_factory=set)
    existed: set[int] = msgspec.field(default_factory=set)
    statements: set[str] = msgspec.field(default_factory=set)
    here: bool = False


def marked_refs(
    applied: Applied, up_to: Sequence[Migration], *, sets: frozenset[str]
) -> tuple[MigrationRef, ...]:
    """The applied set after `--mark-only`: `up_to`, and what other sets than `sets` have.

    A migration that is recorded already stays recorded as it ran.
    """
    known = {(ref.set, ref.version): ref for ref in applied}
    wanted = [known.get((one.ref.set, one.ref.version), one.ref) for one in up_to]
    chosen = {(ref.set, ref.version) for ref in wanted}
    others = [
        ref for ref in applied if ref.set not in sets and (ref.set, ref.version) not in chosen
    ]
    return (*others, *wanted)


async def mark_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    up_to: Sequence[Migration],
    *,
    sets: frozenset[str],
) -> Outcome:
    """Change what counts as applied, in the ledger and in the tenant's marker, and nothing else."""
    began = time.perf_counter_ns()
    contents = {sha: text for one in up_to for sha, text in one.contents.items()}
    try:
        while True:
            refs = marked_refs(ctx.state(target.name).applied, up_to, sets=sets)
            try:
                async with (
                    engine.open(target) as session,
                    claimed(ctx, engine, target, session, contents=contents) as held,
                ):
                    mark = await session.adopt(refs, epoch=held.epoch, ledger=ctx.ledger_id)
                    await held.end(
                        ev.Reset(mode="mark_only", applied=refs, reason=ctx.reason, mark=mark)
                    )
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failure(target.name, error, duration_us=_since(began))
    return Outcome(
        tenant=target.name,
        result="reset",
        version=refs[-1].version if refs else None,
        duration_us=_since(began),
    )


async def drop_tenant(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue
) -> Outcome:
    """Back the tenant up, drop everything its migrations created, and count nothing as applied."""
    began = time.perf_counter_ns()
    try:
        while True:
            try:
                async with (
                    engine.open(target) as session,
                    claimed(ctx, engine, target, session, direction="down") as held,
                ):
                    chosen = await what_to_drop(ctx, engine, target, session, catalogue)
                    saved = await backups.take(
                        ctx, target, session, label="pre_reset", now=datetime.now(UTC)
                    )
                    mark = await session.drop(
                        chosen.objects, epoch=held.epoch, ledger=ctx.ledger_id
                    )
                    dropped = tuple(one.name for one in chosen.objects)
                    await held.end(
                        ev.Reset(mode="drop_all", dropped=dropped, reason=ctx.reason, mark=mark)
                    )
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failure(target.name, error, duration_us=_since(began))
    count = len(dropped)
    return Outcome(
        tenant=target.name,
        result="reset",
        message=f"{count} object{'' if count == 1 else 's'} dropped",
        duration_us=_since(began),
        backup=saved.path,
        warnings=chosen.left,
    )


async def plan_drop(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue
) -> Resetting:
    """What `drop_tenant` would do; reads only."""
    plan = Resetting(
        tenant=target.name,
        engine=target.engine,
        was=tuple(f"{ref.set}/{ref.version}" for ref in ctx.state(target.name).applied),
    )
    try:
        async with engine.open(target) as session:
            chosen = await what_to_drop(ctx, engine, target, session, catalogue)
    except LedgerError as error:
        return msgspec.structs.replace(plan, problem=str(error), hint=error.hint)
    return msgspec.structs.replace(
        plan,
        drops=tuple(f"{one.kind} {one.name}" for one in chosen.objects),
        left=chosen.left,
    )


async def what_to_drop(
    ctx: RunContext, engine: Engine, target: Target, session: Session, catalogue: Catalogue
) -> DropList:
    """What the applied migrations, and one that stopped half-way, created and is still there."""
    ownership = Ownership(engine.dialect)
    ran = await _what_ran(ctx, target.name)
    notes: list[str] = []
    for ref in ctx.state(target.name).applied:
        migration = await _bound(ctx, engine, target, catalogue, ref)
        known = ran.get((ref.set, ref.version), _Ran())
        fold_section(ownership, migration.up, skipped=known.skipped, existed=known.existed)
        _fold_sync(ownership, migration, known)
        claim_manifest(ownership, migration, target.variables)
        if migration.path.endswith(".py") and not migration.manifest.tables_created:
            notes.append(
                f"what the Python migration {migration.id} created is not known: it stays"
                " (tables_created in version.json would tell)"
            )
    await _half_done(ctx, engine, target, session, catalogue, ownership, ran)
    same_case = engine.dialect == "mysql" and not await _folds_case(engine, target)
    try:
        chosen = decide_drops(
            ownership.owned,
            await session.schema(),
            foreign=ownership.foreign,
            prefix=target.prefix,
            same_case=same_case,
        )
    except TenantError as error:
        error.tenant = target.name
        raise
    return msgspec.structs.replace(chosen, left=(*chosen.left, *notes))


def _fold_sync(ownership: Ownership, migration: Migration, ran: _Ran) -> None:
    """Of a section sync only the statements ran whose object was missing."""
    for step in migration.sync:
        ownership.step(step.sql, existed=ran.here and step.sha256 not in ran.statements)


async def _bound(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, ref: MigrationRef
) -> Migration:
    migration = await kept_migration(ctx, ref, engine.dialect, catalogue)
    return ctx.bound(migration, target.variables)


async def _what_ran(ctx: RunContext, tenant: str) -> dict[tuple[str, str], _Ran]:
    """The last word of the events on each up step."""
    found: dict[tuple[str, str], _Ran] = {}
    types = ("step_applied", "step_skipped", "completed")
    where = Filter(stream=f"tenant/{tenant}", types=types)
    async for rows in ctx.store.read(where):
        for row in rows:
            event = row.event
            if isinstance(event, ev.Completed):
                key = (event.migration.set, event.migration.version)
                found.setdefault(key, _Ran()).here = True
            elif isinstance(event, ev.StepApplied | ev.StepSkipped) and event.direction == "up":
                _take_in(found.setdefault((event.set, event.version), _Ran(here=True)), event)
    return found


def _take_in(ran: _Ran, event: ev.StepApplied | ev.StepSkipped) -> None:
    ran.skipped.discard(event.step)
    ran.existed.discard(event.step)
    if isinstance(event, ev.StepSkipped):
        ran.skipped.add(event.step)
        return
    ran.statements.add(event.statement)
    if any(word in warning for warning in event.warnings for word in EXISTED):
        ran.existed.add(event.step)


async def _half_done(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    catalogue: Catalogue,
    ownership: Ownership,
    ran: dict[tuple[str, str], _Ran],
) -> None:
    """Steps that landed of a migration that did not reach its end, and those that were announced on
    nothing: if its object is there now, the step made it."""
    intent = ctx.state(target.name).intent
    for entry in (await session.marker()).entries:
        if entry.state == "applied" or entry.direction == "down":
            continue
        ref = entry.ref
        migration = await _bound(ctx, engine, target, catalogue, ref)
        known = ran.get((ref.set, ref.version), _Ran())
        landed = set(range(1, entry.step + 1))
        if (
            intent is not None
            and (intent.set, intent.version, intent.direction) == (ref.set, ref.version, "up")
            and intent.before == "absent"
        ):
            landed |= {intent.step, *(one.step for one in intent.ahead)}
        missing = {step.number for step in migration.up.steps} - landed
        fold_section(
            ownership, migration.up, skipped=known.skipped | missing, existed=known.existed
        )
        known.here = True
        _fold_sync(ownership, migration, known)


async def _folds_case(engine: Engine, target: Target) -> bool:
    """Whether the server takes `T` and `t` for one table."""
    sql = "SELECT @@lower_case_table_names"
    return [row[0] async for row in engine.query(target.url, target.secret, sql)] != [0]


def _since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000
