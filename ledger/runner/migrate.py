"""Bringing one tenant forward: decide, claim, back up, apply, record; again until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.engines.work import Done
from ledger.errors import (
    ClaimHeldError,
    ConflictError,
    LedgerError,
    LockedError,
    MarkerMismatchError,
)
from ledger.plan import (
    Catalogue,
    Decision,
    Options,
    decide,
    unfinished,
    unsettled,
)
from ledger.projections import joined
from ledger.runner import backups, explain
from ledger.runner.claim import StateChangedError, at_work, require_free
from ledger.runner.comparison import Comparison, News, View
from ledger.runner.context import Begun, RunContext
from ledger.runner.facts import completed, validated
from ledger.runner.held import Held, claimed
from ledger.runner.marker import (
    believe_marker,
    disagreement,
    half_done,
    in_part,
    refuse_undoing_in_doubt,
    require_whole,
)
from ledger.runner.outcome import Outcome, failure
from ledger.runner.sync import sync_drift, sync_warnings
from ledger.scripts.model import Migration
from ledger.scripts.queries import Query

MAX_REPAIRS = 3
"""How often one run brings its view of a tenant in line with the tenant's marker."""


class _Progress(msgspec.Struct, kw_only=True):
    """What one tenant's turn has done so far."""

    began_ns: int
    done: list[str] = msgspec.field(default_factory=list)
    steps: int = 0
    skipped: int = 0
    backup: str | None = None
    warnings: list[str] = msgspec.field(default_factory=list)
    nothing_left: bool = False
    repairs: int = 0
    plans: explain.Plans | None = None

    def elapsed_us(self) -> int:
        return (time.perf_counter_ns() - self.began_ns) // 1000


async def migrate_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    options: Options,
    *,
    inspect: bool = False,
) -> Outcome:
    """Apply what is pending and return the outcome; only cancellation leaves as an exception.

    With `inspect` the tenant's own marker is compared even when the ledger says that
    nothing is pending (applying something compares it in any case).
    """
    before = ctx.begun.get(target.name, Begun())
    progress = _Progress(
        began_ns=time.perf_counter_ns() - before.worked_us * 1000,
        done=list(before.done),
        steps=before.steps,
        skipped=before.skipped,
        backup=before.backup,
    )
    opened = True
    try:
        while True:
            try:
                decision = _decide(ctx, target, catalogue, options)
                left = unfinished(ctx.state(target.name), decision.pending)
                if not decision.pending and not inspect and not left:
                    await _clear_aside(ctx, target, nothing_left=progress.nothing_left)
                    return _finished(ctx, target, progress)
                opened = False
                async with engine.open(target) as session:
                    opened = True
                    if left or (inspect and not decision.pending):
                        await _inspect(
                            ctx, engine, target, session, catalogue, decision.pending, progress
                        )
                        inspect = False
                    else:
                        await _apply_pending(
                            ctx,
                            engine,
                            target,
                            session,
                            catalogue,
                            options,
                            decision,
                            progress,
                            inspect=inspect,
                        )
                        inspect = False
            except StateChangedError:
                progress.nothing_left = False
                continue
    except LedgerError as error:
        outcome = failure(
            target.name, error, done=tuple(progress.done), duration_us=progress.elapsed_us()
        )
        if ctx.begun.pop(target.name, None) is not None:
            await _let_go(ctx, target, error)
        aside = outcome.result == "unreachable" or (
            isinstance(error, LockedError) and not opened and not progress.done
        )
        if aside and ctx.state(target.name).claim is None:
            await record_skip(ctx, target, error)
        return msgspec.structs.replace(
            outcome,
            steps=progress.steps,
            skipped=progress.skipped,
            backup=progress.backup,
            warnings=tuple(progress.warnings),
        )


def _decide(ctx: RunContext, target: Target, catalogue: Catalogue, options: Options) -> Decision:
    decision = decide(ctx.state(target.name).applied, catalogue, options)
    if decision.problem is not None:
        raise decision.problem
    return decision


def _finished(ctx: RunContext, target: Target, progress: _Progress) -> Outcome:
    applied = ctx.state(target.name).applied
    return Outcome(
        tenant=target.name,
        result="migrated" if progress.done else "current",
        migrations=tuple(progress.done),
        steps=progress.steps,
        skipped=progress.skipped,
        version=applied[-1].version if applied else None,
        duration_us=progress.elapsed_us(),
        backup=progress.backup,
        warnings=tuple(progress.warnings),
    )


async def _apply_pending(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    catalogue: Catalogue,
    options: Options,
    decision: Decision,
    progress: _Progress,
    *,
    inspect: bool,
) -> None:
    """One claim: all pending migrations, each with its own start and end event."""
    pending = [ctx.bound(one, target.variables) for one in decision.pending]
    first = pending[0]
    state = ctx.state(target.name)
    look = unsettled(state) or inspect
    refuse_undoing_in_doubt(state)
    async with claimed(
        ctx,
        engine,
        target,
        session,
        ref=first.ref,
        steps=len(first.up.steps),
        contents=first.contents,
    ) as held:
        if look:
            marker = await held.marker()
            half = half_done(marker, ctx.state(target.name), target.name)
            if half is not None:
                raise half
            await require_whole(held, marker, pending, catalogue)
        comparison = await held.look(engine, catalogue)
        progress.warnings += comparison.warnings
        while pending:
            try:
                await _apply_one(held, pending, progress, comparison)
                del pending[0]
            except MarkerMismatchError as mismatch:
                await _adopt_marker(held, mismatch, catalogue, progress)
                comparison = await held.look(engine, catalogue)
                progress.warnings += comparison.warnings
                again = _decide(ctx, target, catalogue, options)
                pending = [ctx.bound(one, target.variables) for one in again.pending]
                if pending:
                    await held.restart(pending[0])


async def _apply_one(
    held: Held, pending: Sequence[Migration], progress: _Progress, comparison: Comparison
) -> None:
    """The first of them; the others follow under the same claim."""
    ctx, target = held.ctx, held.target
    migration = pending[0]
    following = pending[1] if len(pending) > 1 else None
    wanted = backups.wanted(ctx, migration, target, taken=progress.backup is not None)
    if wanted and await held.midway():
        others = [one for one in await held.in_part() if one != migration.id]
        progress.warnings.append(
            f"{migration.id} is applied without a backup: {', '.join(others)} has landed in part,"
            " and the backup to go back to is that from before it"
            if others
            else f"{migration.id} goes on in its middle: no other backup than that from before it"
        )
    elif wanted:
        created = await backups.take(
            ctx,
            target,
            held.session,
            label=f"pre_{migration.ref.version}",
            now=datetime.now(UTC),
            pending=pending,
        )
        progress.backup = created.path
        progress.warnings += backups.told(created, target)
    queries = explain.queries_for(ctx.settings.explain, target, target.engine)
    if queries and progress.plans is None:
        progress.plans = await explain.look(held.session, queries)
    plans = None if progress.plans is None else tuple(progress.plans.items())
    done = await held.apply(migration, "up", plans=plans)
    ref = migration.ref
    told = sync_drift(migration.id, done.drift)
    progress.warnings += sync_warnings(migration.id, done.drift)
    applied = ctx.state(target.name).applied
    news = await comparison.after(
        done.mark,
        done.schema,
        applied,
        joined(applied, ref),
        guards=held.held_guards(migration),
    )
    landed = await held.end(
        *told,
        validated(ref, done),
        *await _explained(held, queries, progress, migration, done),
        completed(ctx.command, ref, done, duration_us=held.lap_us()),
        done=done,
        news=news,
        following=following,
    )
    progress.steps += sum(isinstance(one, ev.StepApplied) for one in landed)
    progress.skipped += sum(isinstance(one, ev.StepSkipped) for one in landed)
    progress.done.append(migration.id)


async def _explained(
    held: Held, queries: Sequence[Query], progress: _Progress, migration: Migration, done: Done
) -> list[ev.Explained]:
    """What became of the queries' plans; those after one migration are those before the next."""
    if not queries:
        return []
    progress.plans = await explain.look(held.session, queries)
    if done.plans is None:
        progress.warnings.append(
            f"{migration.id} went on where an earlier run had stopped, which had not explained the"
            " queries: there are no plans from before it"
        )
        return []
    explained = explain.compare(migration.ref, queries, dict(done.plans), progress.plans)
    progress.warnings += explain.told(explained)
    return [explained]


async def _adopt_marker(
    held: Held, mismatch: MarkerMismatchError, catalogue: Catalogue, progress: _Progress
) -> None:
    """A tenant, or the ledger, went back to an older state: go on from what the tenant says."""
    progress.repairs += 1
    if progress.repairs > MAX_REPAIRS:
        raise mismatch
    await believe_marker(held, catalogue)
    held.ctx.watcher.note(held.target.name, mismatch.message)
    progress.warnings.append(mismatch.message)


async def _inspect(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    catalogue: Catalogue,
    pending: Sequence[Migration],
    progress: _Progress,
) -> None:
    """Compare the marker of a tenant that looks different, and claim it if they disagree; else its schema.

    A tenant that another run works on is left to that run, unless it is to be asked what of a
    migration has landed. Raises UnfinishedError if something has that none of `pending` ends.
    """
    state = await ctx.refresh(target.name)
    left = unfinished(state, pending)
    if not left and await at_work(ctx, target.name):
        return
    refuse_undoing_in_doubt(state)
    found = await disagreement(ctx, target, session)
    marker = await session.marker()
    half = half_done(marker, state if found is None else None, target.name)
    begun = left or in_part(marker, pending)
    if half is not None or begun or found is not None or state.claim is not None:
        async with claimed(ctx, engine, target, session) as held:
            if half is not None:
                raise half
            await believe_marker(held, catalogue)
            await require_whole(held, await held.marker(), pending, catalogue)
    elif all(one.state == "applied" for one in marker.entries):
        comparison = Comparison(View(ctx, engine, target, session, catalogue))
        await _record_news(ctx, target, await comparison.look())
        progress.warnings += comparison.warnings
    progress.nothing_left = True
    if found is not None:
        message = (
            "the tenant's marker and the ledger disagree on what is applied: the ledger has"
            f" {found.expected or 'nothing'}, the tenant {found.found or 'nothing'}"
        )
        ctx.watcher.note(target.name, message)
        progress.warnings.append(message)


async def _record_news(ctx: RunContext, target: Target, news: News) -> None:
    """Raises StateChangedError if another run has acted on the tenant meanwhile."""
    if news.events:
        try:
            await ctx.record(target.name, news.events, scripts=news.scripts)
        except ConflictError as conflict:
            await ctx.refresh(target.name)
            raise StateChangedError from conflict


async def _let_go(ctx: RunContext, target: Target, error: LedgerError) -> None:
    """End the claim of a tenant that fell back and could not be worked on."""
    epoch = ctx.state(target.name).epoch
    try:
        await ctx.record_claimed(
            target.name, [ev.LockCleared(epoch=epoch, reason="the tenant could not be worked on")]
        )
    except LedgerError as second:
        error.add_note(f"and its claim could not be ended: {second}")


async def _clear_aside(ctx: RunContext, target: Target, *, nothing_left: bool) -> None:
    """The tenant was brought forward, or had it all: it is not behind any more, nor out of reach.

    With `nothing_left` its last failure has left no trace in it, and is over too.
    """
    state = ctx.state(target.name)
    over = nothing_left and state.failure is not None
    if state.drift == "regressed" or state.skipped or over:
        try:
            await require_free(ctx, target.name)
            gone = ev.DriftDetected(kind="cleared", failure=over, aside=True)
            await ctx.record(target.name, [gone])
        except ConflictError as conflict:
            await ctx.refresh(target.name)
            raise StateChangedError from conflict
        except ClaimHeldError:
            # Its run says at its end where the tenant stands.
            return


async def record_skip(ctx: RunContext, target: Target, error: LedgerError) -> None:
    """Say on the stream that the tenant was set aside, unless another run works on it."""
    try:
        await require_free(ctx, target.name)
        await ctx.record_last(
            target.name, [ev.TenantSkipped(reason="unreachable", detail=error.message)]
        )
    except LedgerError as second:
        error.add_note(f"and this could not be recorded: {second}")
