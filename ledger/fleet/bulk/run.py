"""The quick way through a SQLite fleet: many tenants an append, their migrations in worker processes.

The run claims a group of tenants with one append, orders their migrations from the
workers, and records what they did together with the next claims. The protocol is that of
ledger.runner.migrate, event by event; only the waiting is shared.

Invariant: nothing but plain success is dealt with here. Whatever else befalls a tenant — a
lock, an error, a lost worker, a claim of somebody else — has changed nothing in it, and it
is handed to the patient way, which goes on under the same claim and meets it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from ledger import events as ev
from ledger import failpoints
from ledger.engines.sqlite.folders import sync_commits
from ledger.errors import ConflictError, StoreError
from ledger.events import Recorded
from ledger.fleet.bulk import messages as wire
from ledger.fleet.bulk.plans import Courses
from ledger.fleet.bulk.processes import Pool, Worker
from ledger.fleet.bulk.queue import Ways
from ledger.fleet.bulk.tenant import Turn
from ledger.fleet.planning import Decisions
from ledger.plan import Catalogue
from ledger.runner import backups
from ledger.runner.claim import started
from ledger.runner.context import Handed, RunContext, failed_event
from ledger.runner.held import RELEASE_SECONDS, interrupted
from ledger.runner.outcome import Outcome, failure
from ledger.scripts.model import Migration
from ledger.stores.base import Prepared

PATIENCE_SECONDS: Final = 5.0
"""A tenant that takes longer has no need of being quick, and is done the patient way."""

STALL_SECONDS: Final = 30.0
"""A worker that says nothing for so long, though it has orders, is ended."""

AHEAD_SECONDS: Final = 0.15
MOST_AHEAD: Final = 64
"""A worker has orders for so much time in hand, by how long its last ones took, and at most so many."""

TOLERATED: Final = 16
"""So many may need the patient way; if that is more than a quarter of all, the rest goes it at once."""


class Quick:
    """One run's quick way. `catalogue_of` gives a tenant's migrations, `lanes` bounds tenants at once.

    The tenants named by `but` need the patient way.
    """

    def __init__(
        self,
        ctx: RunContext,
        pool: Pool[Turn],
        catalogue_of: Callable[[str], Catalogue],
        decisions: Decisions,
        *,
        lanes: int,
        but: Collection[str] = (),
    ) -> None:
        self._ctx = ctx
        self._pool = pool
        self._courses = Courses(ctx, catalogue_of, decisions, but)
        self.lanes = lanes
        self._numbers = count(1)
        self._claims: dict[tuple[int, int], bytes] = {}
        self._schemas: dict[str, str] = {}
        self._hand = 0
        self._good = 0
        self._bad = 0
        self._rate = _Rate()
        self._claimed: dict[str, Turn] = {}

    async def run(self, ways: Ways) -> None:
        """Until there is no tenant left to take, and none in hand. Every tenant taken is finished or given on."""
        for worker in self._pool.workers:
            worker.tell(
                wire.Hello(
                    command=self._ctx.command,
                    ledger_id=self._ctx.ledger_id,
                    lanes=max(1, self.lanes // len(self._pool.workers)),
                    patience_seconds=PATIENCE_SECONDS,
                )
            )
        try:
            while True:
                turns = self._returned(ways)
                turns += self._taken(ways)
                if turns:
                    await self._record(turns, ways)
                    continue
                if not self._hand and (ways.over() or self._given_up):
                    return
                if not self._hand:
                    ways.idle()
                await self._wait()
        except anyio.get_cancelled_exc_class():
            await self._interrupt(ways)
            raise

    @property
    def _given_up(self) -> bool:
        """Whether no tenant is taken any more: what is left is the patient way's, which says why."""
        return self.hopeless or not self._pool.living or self._ctx.lease_over

    def wake(self) -> None:
        """Look again whether a tenant may be taken."""
        self._pool.news.set()

    @property
    def hopeless(self) -> bool:
        """Whether too many tenants need patience for this way to be worth it."""
        return self._bad > TOLERATED and self._bad * 4 > self._good

    def _returned(self, ways: Ways) -> list[Turn]:
        """Turns whose order was carried out; those of lost workers are given on."""
        turns = []
        while self._pool.told:
            worker, told = self._pool.told.popleft()
            turn = worker.hand.pop(told.number, None)
            if turn is None:
                continue
            self._hand -= 1
            turn.worked_us += told.took_us
            if told.problem:
                self._give_on(turn, ways)
                continue
            turn.told = told
            turns.append(turn)
        self._rate.count(len(turns))
        for worker in self._pool.workers:
            if worker.gone and worker.hand:
                lost, worker.hand = list(worker.hand.values()), {}
                self._hand -= len(lost)
                for turn in lost:
                    self._give_on(turn, ways)
        return turns

    def _give_on(self, turn: Turn, ways: Ways) -> None:
        self._bad += 1
        if self._claimed.pop(turn.target.name, None) is not None:
            self._ctx.handed[turn.target.name] = Handed(
                tuple(turn.done), turn.steps, turn.skipped, turn.backup, turn.worked_us
            )
        if turn.announced is not None:
            turn.announced.withdraw()
        ways.patient(turn.target)

    def _taken(self, ways: Ways) -> list[Turn]:
        """New tenants, as many as the workers should have in hand."""
        turns: list[Turn] = []
        living = self._pool.living
        if self._given_up:
            return turns
        ahead = min(MOST_AHEAD * len(living), int(AHEAD_SECONDS * self._rate.per_second))
        if not ways.ahead:
            ahead = 0
        wanted = self.lanes + ahead - self._hand
        number = 0
        while len(turns) < wanted and (target := ways.take()) is not None:
            course = self._courses.of(target)
            if course is None:
                ways.patient(target)
                continue
            worker = living[number % len(living)]
            number += 1
            ways.begun(target)
            turns.append(Turn(target, course, worker, self._ctx.state(target.name).epoch + 1))
        return turns

    async def _record(self, turns: Sequence[Turn], ways: Ways) -> None:
        """One append for all: what was done, and what is begun. Then the next orders go out."""
        ctx = self._ctx
        turns = await self._safe(turns, ways)
        requests = [self._request(turn) for turn in turns]
        outcomes: Sequence[tuple[Recorded, ...] | StoreError]
        try:
            outcomes = await ctx.store.append_all(requests)
        except StoreError as error:
            outcomes = [error] * len(turns)
        if rows := [row for one in outcomes if isinstance(one, tuple) for row in one]:
            ctx.fold_others(rows)
        going: list[Turn] = []
        for turn, request, outcome in zip(turns, requests, outcomes, strict=True):
            if isinstance(outcome, tuple):
                ctx.keep(request.scripts)
                if self._went_on(turn, ways):
                    going.append(turn)
            elif isinstance(outcome, ConflictError):
                self._claimed.pop(turn.target.name, None)
                self._give_on(turn, ways)
            else:
                self._claimed.pop(turn.target.name, None)
                ways.finished(turn.target, failure(turn.target.name, outcome), turn.seconds)
        await self._order(going, ways)

    async def _safe(self, turns: Sequence[Turn], ways: Ways) -> Sequence[Turn]:
        """Those whose commits no power loss can undo, before the ledger says anything of them."""
        done = [turn for turn in turns if turn.told is not None and not turn.told.path]
        if not done:
            return turns
        paths = [turn.target.url.path for turn in done]  # type: ignore[union-attr]
        try:
            await anyio.to_thread.run_sync(sync_commits, paths)
        except OSError:
            for turn in done:
                self._give_on(turn, ways)
            return [turn for turn in turns if turn not in done]
        return turns

    def _request(self, turn: Turn) -> Prepared:
        """The claim, the backup's event, or all events of a migration that was applied."""
        ctx, told = self._ctx, turn.told
        scripts: dict[str, str] = {}
        events: list[tuple[str, bytes]]
        if told is None:
            events = [("started", self._started(turn, turn.migration))]
            scripts |= turn.migration.contents
        else:
            events = list(told.events)
            if told.schema:
                self._schemas[told.fingerprint] = told.schema
            if told.fingerprint and (text := self._schemas.get(told.fingerprint)):
                scripts[told.fingerprint] = text
            if not told.path and (following := turn.following) is not None:
                events.append(("started", self._started(turn, following)))
                scripts |= following.contents
        return ctx.prepared(turn.target.name, events, scripts=scripts)

    def _started(self, turn: Turn, migration: Migration) -> bytes:
        key = (turn.epoch, id(migration))
        body = self._claims.get(key)
        if body is None:
            steps = len(migration.up.steps)
            event = started(self._ctx, turn.epoch, "sqlite", migration.ref, "up", steps)
            body = self._claims[key] = ev.encode_body(event)
        return body

    def _went_on(self, turn: Turn, ways: Ways) -> bool:
        """Move a turn along, now that its events are durable; False at its end."""
        told, turn.told = turn.told, None
        if told is None:
            self._claimed[turn.target.name] = turn
            failpoints.reach("runner.after_claim")
            return True
        if told.path:
            turn.backup = told.path
            turn.saved_before = len(turn.done)
            if turn.announced is not None:
                turn.announced.recorded()
                turn.announced = None
            self._ctx.watcher.backed_up(turn.target.name, told.path)
            return True
        failpoints.reach("runner.after_record")
        turn.steps += told.steps
        turn.skipped += told.skipped
        turn.done.append(turn.migration.id)
        if len(turn.done) < len(turn.course.pending):
            return True
        self._good += 1
        del self._claimed[turn.target.name]
        applied = self._ctx.state(turn.target.name).applied
        outcome = Outcome(
            tenant=turn.target.name,
            result="migrated",
            migrations=tuple(turn.done),
            steps=turn.steps,
            skipped=turn.skipped,
            version=applied[-1].version if applied else None,
            duration_us=turn.worked_us,
            backup=turn.backup,
        )
        ways.finished(turn.target, outcome, turn.seconds)
        return False

    async def _order(self, turns: list[Turn], ways: Ways) -> None:
        ctx = self._ctx
        saving = [
            turn
            for turn in turns
            if turn.saved_before != len(turn.done)
            and backups.wanted(ctx, turn.migration, turn.target, taken=turn.backup is not None)
        ]
        if saving:
            labelled = [(turn.target, f"pre_{turn.migration.ref.version}") for turn in saving]
            for turn, one in zip(
                saving, await backups.announce(ctx, labelled, now=datetime.now(UTC)), strict=True
            ):
                if isinstance(one, backups.Announced):
                    turn.announced = one
                else:
                    turns.remove(turn)
                    self._give_on(turn, ways)
        orders: dict[int, list[wire.Order]] = {}
        workers: dict[int, Worker[Turn]] = {}
        for turn in turns:
            worker = turn.worker
            task = turn.course.tasks[len(turn.done)]
            if task.number not in worker.tasks:
                worker.tasks.add(task.number)
                worker.tell(task)
            number = next(self._numbers)
            if not worker.hand:
                worker.heard = anyio.current_time()
            worker.hand[number] = turn
            workers[id(worker)] = worker
            orders.setdefault(id(worker), []).append(
                wire.Order(
                    number=number,
                    task=task.number,
                    tenant=turn.target.name,
                    path=turn.target.url.path,  # type: ignore[union-attr]
                    epoch=turn.epoch,
                    backup=str(turn.announced.path) if turn.announced else "",
                    more=turn.announced is not None or turn.following is not None,
                    lease_until=ctx.lease_until,
                )
            )
            self._hand += 1
        for key, worker in workers.items():
            worker.tell(orders[key])
            await worker.flush()

    async def _wait(self) -> None:
        """For news; a worker that has orders and keeps silent is ended."""
        with anyio.move_on_after(1.0):
            await self._pool.news.wait()
        self._pool.news = anyio.Event()
        for worker in self._pool.living:
            if worker.hand and anyio.current_time() - worker.heard > STALL_SECONDS:
                await worker.kill()

    async def _interrupt(self, ways: Ways) -> None:
        """The workers are ended, and with them what they had in hand; its claims end with an event."""
        ctx = self._ctx
        turns = list(self._claimed.values())
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_SECONDS):
            for worker in self._pool.workers:
                await worker.kill()
            requests = []
            for turn in turns:
                error = interrupted(turn.target.name)
                event = failed_event(
                    ctx.command,
                    error,
                    migration=turn.migration.ref,
                    direction="up",
                    duration_us=turn.worked_us,
                )
                requests.append(ctx.prepared(turn.target.name, [("failed", ev.encode_body(event))]))
                if turn.announced is not None:
                    turn.announced.withdraw()
                outcome = failure(turn.target.name, error, done=tuple(turn.done))
                outcome = msgspec.structs.replace(outcome, error="interrupted")
                ways.finished(turn.target, outcome, turn.seconds)
            if requests:
                await ctx.store.append_all(requests)


class _Rate:
    """Orders carried out per second, lately."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self._at = anyio.current_time()

    def count(self, number: int) -> None:
        """So many more just now."""
        now = anyio.current_time()
        if number and now > self._at:
            self.per_second += (number / (now - self._at) - self.per_second) / 4
            self._at = now
