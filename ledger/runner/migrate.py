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
    Options,
    decide,
    unfinished,
    unsettled,
)
from ledger.projections import TenantState, joined
from ledger.runner import backups, explain
from ledger.runner.claim import StateChangedError, at_work, require_free
from ledger.runner.comparison import Comparison, News, View
from ledger.runner.context import Begun, RunContext
from ledger.runner.facts import completed, elapsed_us, validated
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
from ledger.runner.skipped import record_skip
from ledger.scripts.model import Migration
from ledger.scripts.queries import Query
from ledger.sync.drift import sync_drift, sync_warnings

MAX_REPAIRS = 3
"""How often one run brings its view of a tenant in line with the tenant's marker."""


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
    migrating = _Migrating(ctx, engine, target, catalogue, options, inspect=inspect)
    try:
        while True:
            try:
                if await migrating.go_on():
                    return migrating.outcome()
            except StateChangedError:
                migrating.nothing_left = False
    except LedgerError as error:
        return await migrating.failed(error)


class _Migrating:
    """One tenant on its way forward: what is done so far.

    `nothing_left` says that the tenant was looked at and holds nothing of what its last command left.
    """

    def __init__(
        self,
        ctx: RunContext,
        engine: Engine,
        target: Target,
        catalogue: Catalogue,
        options: Options,
        *,
        inspect: bool,
    ) -> None:
        before = ctx.begun.get(target.name, Begun())
        self.nothing_left = False
        self._ctx = ctx
        self._engine = engine
        self._target = target
        self._catalogue = catalogue
        self._options = options
        self._inspects = inspect
        self._began_ns = time.perf_counter_ns() - before.worked_us * 1000
        self._done = list(before.done)
        self._steps = before.steps
        self._skipped = before.skipped
        self._backup = before.backup
        self._warnings: list[str] = []
        self._repairs = 0
        self._plans: explain.Plans | None = None
        self._opened = True

    @property
    def _state(self) -> TenantState:
        return self._ctx.state(self._target.name)

    def _elapsed_us(self) -> int:
        return elapsed_us(self._began_ns)

    def outcome(self) -> Outcome:
        """The outcome where nothing is left to do."""
        applied = self._state.applied
        return Outcome(
            tenant=self._target.name,
            result="migrated" if self._done else "current",
            migrations=tuple(self._done),
            steps=self._steps,
            skipped=self._skipped,
            version=applied[-1].version if applied else None,
            duration_us=self._elapsed_us(),
            backup=self._backup,
            warnings=tuple(self._warnings),
        )

    async def failed(self, error: LedgerError) -> Outcome:
        """The outcome of an error, which is recorded where its claim has not recorded it."""
        ctx, target = self._ctx, self._target
        outcome = failure(
            target.name, error, done=tuple(self._done), duration_us=self._elapsed_us()
        )
        if ctx.begun.pop(target.name, None) is not None:
            await _let_go(ctx, target, error)
        aside = outcome.result == "unreachable" or (
            isinstance(error, LockedError) and not self._opened and not self._done
        )
        if aside and self._state.claim is None:
            await record_skip(ctx, target, error)
        return msgspec.structs.replace(
            outcome,
            steps=self._steps,
            skipped=self._skipped,
            backup=self._backup,
            warnings=tuple(self._warnings),
        )

    async def go_on(self) -> bool:
        """Open the tenant and do what is to be done; True once nothing is left.

        Raises StateChangedError if that is to be decided again.
        """
        pending = self._pending()
        left = unfinished(self._state, pending)
        if not pending and not self._inspects and not left:
            await _clear_aside(self._ctx, self._target, nothing_left=self.nothing_left)
            return True
        self._opened = False
        async with self._engine.open(self._target) as session:
            self._opened = True
            if left or not pending:
                await self._inspect(session, pending)
            else:
                await self._apply(session, pending)
            self._inspects = False
        return False

    def _pending(self) -> Sequence[Migration]:
        decision = decide(self._state.applied, self._catalogue, self._options)
        if decision.problem is not None:
            raise decision.problem
        return decision.pending

    def _bound(self, pending: Sequence[Migration]) -> list[Migration]:
        return [self._ctx.bound(migration, self._target.variables) for migration in pending]

    async def _apply(self, session: Session, decided: Sequence[Migration]) -> None:
        """One claim: all pending migrations, each with its own start and end event."""
        pending = self._bound(decided)
        first = pending[0]
        inspects = unsettled(self._state) or self._inspects
        refuse_undoing_in_doubt(self._state)
        await session.require_read_alike(pending, down=False)
        async with claimed(
            self._ctx,
            self._engine,
            self._target,
            session,
            ref=first.ref,
            steps=len(first.up.steps),
            contents=first.contents,
        ) as held:
            if inspects:
                marker = await held.marker()
                half = half_done(marker, self._state, self._target.name)
                if half is not None:
                    raise half
                await require_whole(held, marker, pending, self._catalogue)
            comparison = await self._compare(held)
            while pending:
                try:
                    await self._apply_first(held, pending, comparison)
                    del pending[0]
                except MarkerMismatchError as mismatch:
                    await self._adopt_marker(held, mismatch)
                    comparison = await self._compare(held)
                    pending = self._bound(self._pending())
                    if pending:
                        await held.restart(pending[0])

    async def _compare(self, held: Held) -> Comparison:
        comparison = await held.look(self._engine, self._catalogue)
        self._warnings += comparison.warnings
        return comparison

    async def _apply_first(
        self, held: Held, pending: Sequence[Migration], comparison: Comparison
    ) -> None:
        """The first of them; the others follow under the same claim."""
        ctx, target, migration = self._ctx, self._target, pending[0]
        if backups.wanted(ctx, migration, target, taken=self._backup is not None):
            await self._back_up(held, pending)
        queries = explain.queries_for(ctx.settings.explain, target, target.engine)
        if queries and self._plans is None:
            self._plans = await explain.look(held.session, queries)
        plans = None if self._plans is None else tuple(self._plans.items())
        done = await held.apply(migration, "up", plans=plans)
        ref = migration.ref
        drift = sync_drift(migration.id, done.drift)
        self._warnings += sync_warnings(migration.id, done.drift)
        applied = self._state.applied
        news = await comparison.after(
            done.mark,
            done.schema,
            applied,
            joined(applied, ref),
            guards=held.held_guards(migration),
        )
        landed = await held.end(
            *drift,
            validated(ref, done),
            *await self._explained(held, queries, migration, done),
            completed(ctx.command, ref, done, duration_us=held.lap_us()),
            done=done,
            news=news,
            following=pending[1] if len(pending) > 1 else None,
        )
        self._steps += sum(isinstance(event, ev.StepApplied) for event in landed)
        self._skipped += sum(isinstance(event, ev.StepSkipped) for event in landed)
        self._done.append(migration.id)

    async def _back_up(self, held: Held, pending: Sequence[Migration]) -> None:
        """A backup before the first of `pending`, unless the tenant stands in the middle of a migration."""
        migration = pending[0]
        if await held.midway():
            others = [name for name in await held.in_part() if name != migration.id]
            self._warnings.append(
                f"{migration.id} is applied without a backup: {', '.join(others)} has landed in part,"
                " and the backup to go back to is that from before it"
                if others
                else f"{migration.id} goes on in its middle: no other backup than that from before it"
            )
            return
        created = await backups.take(
            self._ctx,
            self._target,
            held.session,
            label=f"pre_{migration.ref.version}",
            now=datetime.now(UTC),
            pending=pending,
        )
        self._backup = created.path
        self._warnings += backups.warnings_of(created, self._target)

    async def _explained(
        self, held: Held, queries: Sequence[Query], migration: Migration, done: Done
    ) -> list[ev.Explained]:
        """What became of the queries' plans; those after one migration are those before the next."""
        if not queries:
            return []
        self._plans = await explain.look(held.session, queries)
        if done.plans is None:
            self._warnings.append(
                f"{migration.id} went on where an earlier run had stopped, which had not explained the"
                " queries: there are no plans from before it"
            )
            return []
        explained = explain.compare(migration.ref, queries, dict(done.plans), self._plans)
        self._warnings += explain.warnings_of(explained)
        return [explained]

    async def _adopt_marker(self, held: Held, mismatch: MarkerMismatchError) -> None:
        """A tenant, or the ledger, went back to an older state: go on from what the tenant says."""
        self._repairs += 1
        if self._repairs > MAX_REPAIRS:
            raise mismatch
        await believe_marker(held, self._catalogue)
        self._warn(mismatch.message)

    def _warn(self, message: str) -> None:
        self._ctx.watcher.note(self._target.name, message)
        self._warnings.append(message)

    async def _inspect(self, session: Session, pending: Sequence[Migration]) -> None:
        """Compare the marker of a tenant that looks different, and claim it if they disagree; else its schema.

        A tenant that another run works on is left to that run, unless it is to be asked what of a
        migration has landed. Raises UnfinishedError if something has that none of `pending` ends.
        """
        ctx, target = self._ctx, self._target
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
            async with claimed(ctx, self._engine, target, session) as held:
                if half is not None:
                    raise half
                await believe_marker(held, self._catalogue)
                await require_whole(held, await held.marker(), pending, self._catalogue)
        elif all(entry.state == "applied" for entry in marker.entries):
            comparison = Comparison(View(ctx, self._engine, target, session, self._catalogue))
            await _record_news(ctx, target, await comparison.look())
            self._warnings += comparison.warnings
        self.nothing_left = True
        if found is not None:
            self._warn(
                "the tenant's marker and the ledger disagree on what is applied: the ledger has"
                f" {found.expected or 'nothing'}, the tenant {found.found or 'nothing'}"
            )


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
