"""One claim on one tenant, from its `started` to its end event.

Invariant: the claim is durable before the tenant is touched. Whatever leaves the
block — success, an error, a cancellation — has ended the claim with an event, or
has lost it to another run; a killed process leaves it to be taken over.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import msgspec

from ledger import events as ev
from ledger import failpoints
from ledger.dialects.steps import SkipIf
from ledger.engines.base import Engine, Session, Target
from ledger.engines.measured import Plan
from ledger.engines.work import Done, Marker
from ledger.errors import FencedError, LedgerError, StoreError, TenantError
from ledger.events import AnyEvent, Mark, MigrationRef
from ledger.plan import Catalogue
from ledger.runner.claim import StateChangedError, claim, started
from ledger.runner.comparison import NO_NEWS, Comparison, News, View
from ledger.runner.context import RunContext, failed_event
from ledger.runner.journal import TenantJournal
from ledger.runner.past import ids
from ledger.runner.work import work_for
from ledger.schema import encode_schema, fingerprint
from ledger.scripts.model import Migration

RELEASE_SECONDS = 15.0
"""How long recording an end event may take once the work itself is over or cancelled."""


class Held:
    """A tenant under this run's claim. `ref` and `direction` are what is being worked on.

    `found` is the marker as it was read last, before the migration at hand.
    """

    def __init__(
        self,
        ctx: RunContext,
        target: Target,
        session: Session,
        epoch: int,
        ref: MigrationRef | None,
        direction: ev.Direction,
    ) -> None:
        self.ctx = ctx
        self.target = target
        self.session = session
        self.epoch = epoch
        self.ref = ref
        self.direction: ev.Direction = direction
        self.ended = False
        self.found: Marker | None = None
        self._journal: TenantJournal | None = None
        self._lap_ns = time.perf_counter_ns()

    def lap_us(self) -> int:
        """Microseconds since the last lap: one migration's share."""
        before, self._lap_ns = self._lap_ns, time.perf_counter_ns()
        return (self._lap_ns - before) // 1000

    def pending(self) -> list[AnyEvent]:
        """Results that are durable in the tenant and not yet in the ledger."""
        return self._journal.pending if self._journal else []

    def landed(self) -> tuple[int, ...]:
        """The up steps of what is worked on that have landed, recorded already or not."""
        ref = self.ref
        if ref is None or self.direction != "up":
            return ()
        halves = self.ctx.state(self.target.name).halves
        found = {step for half in halves if half.id == ref.id for step in half.applied}
        found |= {event.step for event in self.pending() if isinstance(event, ev.StepApplied)}
        return tuple(sorted(found))

    async def apply(
        self,
        migration: Migration,
        direction: ev.Direction,
        *,
        plans: tuple[tuple[str, Plan], ...] | None = None,
    ) -> Done:
        """Run one bound migration; its results wait in `pending` for `end`. For `plans` see Work."""
        work = await work_for(self.ctx, self.target, self.epoch, migration, direction)
        if plans is not None:
            work = msgspec.structs.replace(work, plans=plans)
        self.ref, self.direction = migration.ref, direction
        self._journal = TenantJournal(
            self.ctx,
            self.target.name,
            migration.ref,
            direction,
            of=len(work.section.steps),
            recorded=work.recorded or frozenset(),
        )
        done = await self.session.apply(work, self._journal, known=frozenset(self.ctx.kept))
        failpoints.reach("runner.before_record")
        return done

    async def end(
        self,
        *events: AnyEvent,
        done: Done | None = None,
        news: News = NO_NEWS,
        following: Migration | None = None,
        following_direction: ev.Direction = "up",
    ) -> list[AnyEvent]:
        """Append what is pending and `events`, whose last is the end event; return all that landed.

        `news` of the tenant's schema come after it. With `following` the claim goes on for
        that migration in the same append.
        """
        pending = self.pending()
        landed = [*(self._journal.flushed if self._journal else ()), *pending]
        out: list[AnyEvent] = [*pending, *events, *news.events]
        scripts = dict(news.scripts)
        if following is not None:
            out.append(self._started(following, following_direction))
            scripts |= following.contents
        if done is not None and done.schema is not None and done.mark.fingerprint:
            scripts[done.mark.fingerprint] = encode_schema(done.schema).decode()
        elif done is None:
            scripts |= await self._schema_of(events[-1])
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_SECONDS):
            await self.ctx.record_claimed(self.target.name, out, scripts=scripts)
        self._journal = None
        self.found = None
        if following is None:
            self.ended = True
        else:
            self.ref, self.direction = following.ref, following_direction
        failpoints.reach("runner.after_record")
        return landed

    async def _schema_of(self, event: AnyEvent) -> dict[str, str]:
        """The schema that the event's mark names, so that what differs from it later can be said."""
        wanted = getattr(event, "mark", Mark()).fingerprint
        if not wanted or wanted in self.ctx.kept:
            return {}
        try:
            schema = await self.session.schema()
        except LedgerError:
            # The tenant has changed, and that is to be recorded in any case.
            return {}
        return {wanted: encode_schema(schema).decode()} if fingerprint(schema) == wanted else {}

    async def midway(self) -> bool:
        """Whether the tenant is ahead of what the ledger calls applied, or not at a migration's end.

        A run that was killed leaves it so. A backup of that is none of the state before: going
        back to it would leave a half, or all, of what it is to undo.
        """
        state = self.ctx.state(self.target.name)
        if state.intent is not None or state.landed:
            return True
        entries = (await self.marker()).entries
        has = {entry.ref.key for entry in entries if entry.state == "applied"}
        return len(has) < len(entries) or has != {ref.key for ref in state.applied}

    async def look(self, engine: Engine, catalogue: Catalogue) -> Comparison:
        """Compare the tenant with what it should be, and record what is news, before anything is done.

        In the middle of a migration, a restore or a reset the comparison says nothing of that.
        """
        comparison = Comparison(View(self.ctx, engine, self.target, self.session, catalogue))
        if not comparison.expected:
            return comparison
        if (await self.marker()).unfinished or await self.midway():
            comparison.take_as_seen_last()
            return comparison
        news = await comparison.look()
        if news.events:
            await self.ctx.record_claimed(self.target.name, news.events, scripts=news.scripts)
        for warning in comparison.warnings:
            self.ctx.watcher.note(self.target.name, warning)
        return comparison

    async def counted(
        self, engine: Engine, catalogue: Catalogue, mark: Mark, applied: Sequence[MigrationRef]
    ) -> News:
        """`applied` counts as applied from here on: whether a drift that was known stays."""
        was = self.ctx.state(self.target.name).applied
        counts = ids(applied)
        gone = [ref for ref in was if ref.key not in counts]
        comparison = Comparison(View(self.ctx, engine, self.target, self.session, catalogue))
        comparison.take_as_seen_last()
        return await comparison.after(mark, None, was, applied, forgotten=gone)

    def held_guards(self, migration: Migration) -> tuple[SkipIf, ...]:
        """The guards of its up steps that held in this attempt."""
        skipped = {event.step for event in self.pending() if isinstance(event, ev.StepSkipped)}
        return tuple(
            step.skip_if
            for step in migration.up.steps
            if step.skip_if is not None and step.number in skipped
        )

    async def in_part(self) -> tuple[str, ...]:
        """The migrations that the marker calls begun and not applied."""
        return tuple(
            entry.ref.id for entry in (await self.marker()).entries if entry.state != "applied"
        )

    async def marker(self) -> Marker:
        """The tenant's marker as it was found, read once."""
        if self.found is None:
            self.found = await self.session.marker()
        return self.found

    async def restart(self, migration: Migration) -> None:
        """Go on, under the same claim, with another migration than the one announced."""
        self.ref, self.direction = migration.ref, "up"
        await self.ctx.record_claimed(
            self.target.name, [self._started(migration, "up")], scripts=migration.contents
        )

    def _started(self, migration: Migration, direction: ev.Direction) -> ev.Started:
        section = migration.up if direction == "up" else migration.down
        return started(
            self.ctx,
            self.epoch,
            self.target.engine,
            migration.ref,
            direction,
            len(section.steps) if section else 0,
        )


@asynccontextmanager
async def claimed(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    *,
    ref: MigrationRef | None = None,
    direction: ev.Direction = "up",
    steps: int = 0,
    contents: dict[str, str] | None = None,
) -> AsyncIterator[Held]:
    """Claim the tenant for the block, and see to it that the claim ends.

    Raises StateChangedError (decide again) and what the block raises.
    """
    epoch = await claim(
        ctx,
        target.name,
        engine=target.engine,
        migration=ref,
        direction=direction,
        steps=steps,
        contents=contents,
    )
    failpoints.reach("runner.after_claim")
    held = Held(ctx, target, session, epoch, ref, direction)
    try:
        if not engine.capabilities.transactional_ddl:
            held.found = await session.fence(epoch=epoch, ledger=ctx.ledger_id)
        yield held
    except FencedError as error:
        await _outlive_fence(held, error)
    except LedgerError as error:
        raise await _fail(held, error) from error
    except StateChangedError:
        raise
    except Exception as error:
        # A defect of ours: the claim must not outlive it, or the tenant would seem at work.
        await _fail(held, TenantError(f"unexpected {type(error).__name__}"))
        raise
    except anyio.get_cancelled_exc_class():
        await _fail(held, interrupted(target.name))
        raise
    if not held.ended:
        await held.end(ev.LockCleared(epoch=epoch, reason="nothing was left to do"))


def interrupted(tenant: str) -> TenantError:
    """What ends a claim that was cancelled."""
    return TenantError(
        "interrupted before its end",
        hint="Run the same command again; it goes on from there.",
        tenant=tenant,
    )


async def _fail(held: Held, error: LedgerError) -> TenantError:
    """End the claim with what went wrong; the error, as a tenant's, is returned.

    If the claim has passed on meanwhile, that is the error: nothing of ours is recorded. It has not
    where an append of ours has landed that the ledger did not confirm.
    """
    ctx, target = held.ctx, held.target
    failed = error if isinstance(error, TenantError) else TenantError(str(error), hint=error.hint)
    failed.tenant = failed.tenant or target.name
    if held.ref is not None:
        failed.migration = failed.migration or held.ref.id
    events: Sequence[AnyEvent] = [
        *held.pending(),
        failed_event(
            ctx.command,
            failed,
            migration=held.ref,
            direction=held.direction,
            duration_us=held.lap_us(),
            landed=held.landed(),
        ),
    ]
    if held.ended:
        return failed
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_SECONDS):
        try:
            await ctx.record_claimed(target.name, events)
        except FencedError as lost:
            if isinstance(error, StoreError) and lost.found == held.epoch:
                return failed
            # Whoever has the claim now may have ended our session: that is not the tenant's fault.
            lost.add_note(f"this run had met: {failed}")
            return lost
        except LedgerError as second:
            failed.add_note(f"and its end could not be recorded: {second}")
    return failed


async def _outlive_fence(held: Held, error: FencedError) -> None:
    """Distinguish a lost claim from a ledger that was restored from an old backup.

    In the second case the claim still stands while the tenant remembers a newer
    epoch: the ledger takes that epoch over, so that the next claim is above it.
    """
    ctx, tenant = held.ctx, held.target.name
    error.tenant = error.tenant or tenant
    state = await ctx.refresh(tenant)
    if state.claim is None or state.claim.run != ctx.run or error.found <= state.epoch:
        raise error
    reason = f"the tenant remembers epoch {error.found}: this ledger is an older copy"
    await ctx.record_claimed(tenant, [ev.LockCleared(epoch=error.found, reason=reason)])
    ctx.watcher.note(tenant, reason)
    raise StateChangedError from error
