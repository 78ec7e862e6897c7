"""Resetting one tenant: what is recorded, or everything that the migrations created.

Invariant: a tenant is never dropped without a backup taken under the same claim;
what the recorded migrations did not make is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from ledger import events as ev
from ledger.dialects.steps import Step
from ledger.engines.base import Engine, Session, Target
from ledger.errors import LedgerError, TenantError, for_tenant
from ledger.events import MigrationRef
from ledger.plan import Catalogue
from ledger.projections import Applied
from ledger.reset.dropping import DropList, decide_drops
from ledger.runner import backups
from ledger.runner.context import RunContext
from ledger.runner.kept import kept_migration
from ledger.runner.outcome import Outcome
from ledger.runner.ran import (
    Ran,
    fold_python,
    fold_ran,
    fold_sync,
    how_far,
    not_at_their_end,
    what_ran,
)
from ledger.runner.tenant import opened_and_claimed, outcome_of
from ledger.scripts.created import Ownership, fold_section
from ledger.scripts.model import Migration


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


def marked_refs(
    applied: Applied, up_to: Sequence[Migration], *, sets: frozenset[str]
) -> tuple[MigrationRef, ...]:
    """The applied set after `--mark-only`: `up_to`, and what other sets than `sets` have.

    A migration that is recorded already stays recorded as it ran.
    """
    known = {ref.key: ref for ref in applied}
    wanted = [known.get(migration.ref.key, migration.ref) for migration in up_to]
    chosen = {ref.key for ref in wanted}
    others = [ref for ref in applied if ref.set not in sets and ref.key not in chosen]
    return (*others, *wanted)


async def mark_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    up_to: Sequence[Migration],
    *,
    sets: frozenset[str],
) -> Outcome:
    """Change what counts as applied, in the ledger and in the tenant's marker, and nothing else."""
    contents = {sha: text for migration in up_to for sha, text in migration.contents.items()}

    async def act() -> Outcome:
        refs = marked_refs(ctx.state(target.name).applied, up_to, sets=sets)
        async with opened_and_claimed(ctx, engine, target, contents=contents) as held:
            mark = await held.session.adopt(refs, epoch=held.epoch, ledger=ctx.ledger_id)
            await held.end(
                ev.Reset(mode="mark_only", applied=refs, reason=ctx.reason, mark=mark),
                news=await held.counted(engine, catalogue, mark, refs),
            )
        return Outcome(tenant=target.name, result="reset")

    return await outcome_of(ctx, target, act)


async def drop_tenant(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue
) -> Outcome:
    """Back the tenant up, drop everything its migrations created, and count nothing as applied."""

    async def act() -> Outcome:
        async with opened_and_claimed(ctx, engine, target, direction="down") as held:
            comparison = await held.look(engine, catalogue)
            chosen = await _what_to_drop(ctx, engine, target, held.session, catalogue)
            saved = await backups.take(
                ctx, target, held.session, label="pre_reset", now=datetime.now(UTC)
            )
            mark = await held.session.drop(chosen.objects, epoch=held.epoch, ledger=ctx.ledger_id)
            dropped = tuple(item.name for item in chosen.objects)
            was = ctx.state(target.name).applied
            await held.end(
                ev.Reset(mode="drop_all", dropped=dropped, reason=ctx.reason, mark=mark),
                news=await comparison.after(mark, None, was, ()),
            )
        count = len(dropped)
        return Outcome(
            tenant=target.name,
            result="reset",
            message=f"{count} object{'' if count == 1 else 's'} dropped",
            backup=saved.path,
            warnings=(*chosen.left, *comparison.warnings),
        )

    return await outcome_of(ctx, target, act)


async def plan_drop(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue
) -> Resetting:
    """What `drop_tenant` would do; reads only."""
    plan = Resetting(
        tenant=target.name,
        engine=target.engine,
        was=tuple(ref.id for ref in ctx.state(target.name).applied),
    )
    try:
        async with engine.open(target) as session:
            chosen = await _what_to_drop(ctx, engine, target, session, catalogue)
    except LedgerError as error:
        return msgspec.structs.replace(
            plan, problem=str(error), hint=for_tenant(error.hint, target.name)
        )
    return msgspec.structs.replace(
        plan,
        drops=tuple(f"{item.kind} {item.name}" for item in chosen.objects),
        left=chosen.left,
    )


async def _what_to_drop(
    ctx: RunContext, engine: Engine, target: Target, session: Session, catalogue: Catalogue
) -> DropList:
    """What the applied migrations, and one that stopped half-way, created and is still there.

    Raises TenantError where a step that may have run decides over what would go.
    """
    ownership = Ownership(engine.dialect)
    state = ctx.state(target.name)
    ran = await what_ran(ctx.store, target.name)
    notes: list[str] = []
    for ref in state.applied:
        migration = await _bound(ctx, engine, target, catalogue, ref)
        known = ran.get(ref.key, Ran())
        if not fold_ran(ownership, migration, known, target.variables):
            notes.append(_unknown_of(migration))
    doubtful: list[tuple[Migration, Step]] = []
    for ref, entry in not_at_their_end(state, await session.marker(), ran):
        migration = await _bound(ctx, engine, target, catalogue, ref)
        known = ran.setdefault(ref.key, Ran())
        far = how_far(migration, entry, state, known)
        missing = {step.number for step in migration.up.steps} - far.landed
        fold_section(
            ownership, migration.up, skipped=known.skipped | missing, existed=known.existed
        )
        known.here = True
        known.statements |= far.made
        fold_sync(ownership, migration, known, but=far.perhaps)
        if migration.path.endswith(".py"):
            fold_python(ownership, known)
            notes.append(_unknown_of(migration))
        doubtful += [(migration, step) for step in far.perhaps]
    schema = await session.schema()
    same_case = await engine.same_case(target)

    def decide() -> DropList:
        return decide_drops(
            ownership.owned,
            schema,
            foreign=ownership.foreign,
            prefix=target.prefix,
            same_case=same_case,
        )

    try:
        chosen = sure = decide()
        for migration, step in doubtful:
            ownership.step(step.readable)
            chosen = decide()
            _require_same(sure, chosen, migration, step)
    except TenantError as error:
        error.tenant = target.name
        raise
    return msgspec.structs.replace(chosen, left=(*chosen.left, *notes))


def _require_same(sure: DropList, other: DropList, migration: Migration, step: Step) -> None:
    """Raises TenantError if it matters whether a step has run of which nothing is known."""
    names = sorted(f"{item.kind} {item.name}" for item in {*sure.objects} ^ {*other.objects})
    if names:
        raise TenantError(
            f"step {step.number} ({step.name}) may have run when a run was killed, so that it is"
            f" not known whether {', '.join(names)} is the migration's own; nothing was dropped",
            migration=migration.id,
            hint="Run `ledger migrate --tenant NAME`, which settles the step, then reset it. What an"
            " IF NOT EXISTS finds there then counts as the application's: if it is the"
            " migration's, drop it yourself first.",
        )


def _unknown_of(migration: Migration) -> str:
    """What is to be said of a Python migration of which not all that it did is recorded."""
    return (
        f"not all that the Python migration {migration.id} created is known: what is not stays;"
        " drop it yourself if it is the migration's"
    )


async def _bound(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, ref: MigrationRef
) -> Migration:
    migration = await kept_migration(ctx, ref, engine.dialect, catalogue)
    return ctx.bound(migration, target.variables)
