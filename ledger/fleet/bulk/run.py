"""The bulk path through a fleet: many tenants an append, their migrations on an executor's workers.

The run claims a batch of tenants with one append, orders their migrations from the
workers, and records what they did together with the next claims. The protocol is that of
ledger.runner.migrate, event by event; only the waiting is shared.

Invariant: nothing but plain success is dealt with here. Whatever else befalls a tenant — a
lock, an error, a lost worker, a claim of another run — has changed nothing in it, and the tenant
goes to the fallback, which goes on under the same claim and meets it again.
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
from ledger.engines import batch_for
from ledger.engines.base import Target
from ledger.errors import ConflictError, StoreError
from ledger.events import Recorded
from ledger.fleet.bulk.executor import Executor
from ledger.fleet.bulk.messages import Order, Setup
from ledger.fleet.bulk.plans import BulkPlans
from ledger.fleet.bulk.queue import BulkQueue
from ledger.fleet.bulk.tenant import BulkTenant
from ledger.fleet.planning import Decisions
from ledger.plan import Catalogue
from ledger.runner import backups
from ledger.runner.claim import started
from ledger.runner.context import RunContext, failed_event
from ledger.runner.held import RELEASE_SECONDS, interrupted
from ledger.runner.outcome import failure
from ledger.scripts.model import Migration
from ledger.stores.base import Prepared

TENANT_SECONDS: Final = 5.0
"""A tenant that takes longer gains nothing here, and goes to the fallback."""

AHEAD_SECONDS: Final = 0.15
MOST_AHEAD: Final = 64
"""A worker has orders for so much time ahead, by how long its last ones took, and at most so many."""

TOLERATED: Final = 16
"""How many tenants may need the fallback; beyond it, and a quarter of all, the rest goes there at once."""


class Bulk:
    """One run's bulk path. `catalogue_of` gives a tenant's migrations, `lanes` bounds tenants at once.

    The tenants named by `but` go to the fallback.
    """

    def __init__(
        self,
        ctx: RunContext,
        executor: Executor,
        catalogue_of: Callable[[str], Catalogue],
        decisions: Decisions,
        *,
        lanes: int,
        but: Collection[str] = (),
    ) -> None:
        self._ctx = ctx
        self._executor = executor
        self._plans = BulkPlans(ctx, catalogue_of, decisions, but)
        self.lanes = lanes
        self._numbers = count(1)
        self._claims: dict[tuple[int, int], bytes] = {}
        self._schemas: dict[str, str] = {}
        self._ordered: dict[int, BulkTenant] = {}
        self._good = 0
        self._bad = 0
        self._rate = _Rate()
        self._claimed: dict[str, BulkTenant] = {}

    def takes(self, target: Target) -> bool:
        """Whether tenants of this engine can be worked on in batches."""
        return batch_for(target.engine) is not None

    def wake(self) -> None:
        """Look again whether a tenant may be taken."""
        self._executor.wake()

    async def run(self, queue: BulkQueue) -> None:
        """Until there is no tenant left to take, and none is worked on. Each one taken is finished or falls back."""
        setup = Setup(
            command=self._ctx.command,
            ledger_id=self._ctx.ledger_id,
            lanes=self.lanes,
            tenant_seconds=TENANT_SECONDS,
        )
        self._executor.set_up(setup)
        try:
            while True:
                batch = self._returned(queue)
                batch += self._taken(queue)
                if batch:
                    await self._record(batch, queue)
                    continue
                if not self._ordered and (queue.over() or self._given_up):
                    queue.give_up()
                    return
                if not self._ordered:
                    queue.idle()
                await self._executor.wait()
        except anyio.get_cancelled_exc_class():
            await self._interrupt(queue)
            raise

    @property
    def _given_up(self) -> bool:
        """Whether no tenant is taken any more: what is left is the fallback's, which says why."""
        hopeless = self._bad > TOLERATED and self._bad * 4 > self._good
        return hopeless or not self._executor.workers or self._ctx.lease_over

    def _returned(self, queue: BulkQueue) -> list[BulkTenant]:
        """The tenants whose order was carried out; the others fall back."""
        batch = []
        for result in self._executor.results():
            tenant = self._ordered.pop(result.number, None)
            if tenant is None:  # It was delivered twice.
                continue
            tenant.worked_us += result.took_us
            if result.problem:
                self._fall_back(tenant, queue)
                continue
            tenant.result = result
            batch.append(tenant)
        self._rate.count(len(batch))
        return batch

    def _fall_back(self, tenant: BulkTenant, queue: BulkQueue) -> None:
        self._bad += 1
        if self._claimed.pop(tenant.target.name, None) is not None:
            self._ctx.begun[tenant.target.name] = tenant.begun()
        if tenant.announced is not None:
            tenant.announced.withdraw()
        queue.fall_back(tenant.target)

    def _taken(self, queue: BulkQueue) -> list[BulkTenant]:
        """New tenants, as many as the workers should have orders for."""
        batch: list[BulkTenant] = []
        if self._given_up:
            return batch
        most = MOST_AHEAD * self._executor.workers
        ahead = min(most, int(AHEAD_SECONDS * self._rate.per_second)) if queue.ahead else 0
        wanted = self.lanes + ahead - len(self._ordered)
        while len(batch) < wanted and (target := queue.take()) is not None:
            plan = self._plans.of(target)
            if plan is None:
                queue.fall_back(target)
                continue
            queue.started(target)
            batch.append(BulkTenant(target, plan, self._ctx.state(target.name).epoch + 1))
        return batch

    async def _record(self, batch: Sequence[BulkTenant], queue: BulkQueue) -> None:
        """One append for all: what was done, and what is begun. Then the next orders go out."""
        ctx = self._ctx
        batch = await self._durable(batch, queue)
        requests = [self._request(tenant) for tenant in batch]
        outcomes = await self._append(requests)
        going: list[BulkTenant] = []
        for tenant, request, outcome in zip(batch, requests, outcomes, strict=True):
            if isinstance(outcome, tuple):
                ctx.keep(request.scripts)
                if self._went_on(tenant, queue):
                    going.append(tenant)
                continue
            self._claimed.pop(tenant.target.name, None)
            if isinstance(outcome, ConflictError):
                self._fall_back(tenant, queue)
            else:
                failed = failure(tenant.target.name, outcome)
                queue.finished(failed, tenant.seconds)
        await self._announce(going, queue)
        await self._order(going)

    async def _append(
        self, requests: Sequence[Prepared]
    ) -> Sequence[tuple[Recorded, ...] | StoreError]:
        """What became of each, in one append; what is recorded is folded."""
        outcomes: Sequence[tuple[Recorded, ...] | StoreError]
        try:
            outcomes = await self._ctx.store.append_all(requests)
        except StoreError as error:
            outcomes = [error] * len(requests)
        if rows := [row for each in outcomes if isinstance(each, tuple) for row in each]:
            self._ctx.fold(rows)
        return outcomes

    async def _durable(self, batch: Sequence[BulkTenant], queue: BulkQueue) -> Sequence[BulkTenant]:
        """Those whose commits no power loss can undo, before the ledger says anything of them."""
        done: dict[str, list[BulkTenant]] = {}
        for tenant in batch:
            if tenant.result is not None and not tenant.result.backup:
                done.setdefault(tenant.target.engine, []).append(tenant)
        for engine, tenants in done.items():
            work = batch_for(engine)
            if work is None:
                continue
            targets = [tenant.target for tenant in tenants]
            try:
                await anyio.to_thread.run_sync(work.make_durable, targets)
            except OSError:
                for tenant in tenants:
                    self._fall_back(tenant, queue)
                batch = [tenant for tenant in batch if tenant not in tenants]
        return batch

    def _request(self, tenant: BulkTenant) -> Prepared:
        """The claim, the backup's event, or all events of a migration that was applied."""
        result = tenant.result
        scripts: dict[str, str] = {}
        events: list[tuple[str, bytes]]
        if result is None:
            events = [("started", self._started(tenant, tenant.migration))]
            scripts |= tenant.migration.contents
        else:
            events = list(result.events)
            if result.schema:
                self._schemas[result.fingerprint] = result.schema
            if result.fingerprint and (text := self._schemas.get(result.fingerprint)):
                scripts[result.fingerprint] = text
            if not result.backup and (following := tenant.following) is not None:
                events.append(("started", self._started(tenant, following)))
                scripts |= following.contents
        return self._ctx.prepared(tenant.target.name, events, scripts=scripts)

    def _started(self, tenant: BulkTenant, migration: Migration) -> bytes:
        key = (tenant.epoch, id(migration))
        body = self._claims.get(key)
        if body is None:
            steps = len(migration.up.steps)
            engine = tenant.target.engine
            event = started(self._ctx, tenant.epoch, engine, migration.ref, "up", steps)
            body = self._claims[key] = ev.encode_body(event)
        return body

    def _went_on(self, tenant: BulkTenant, queue: BulkQueue) -> bool:
        """Move a tenant along, now that its events are durable; False at its end."""
        name = tenant.target.name
        result, tenant.result = tenant.result, None
        if result is None:
            self._claimed[name] = tenant
            failpoints.reach("runner.after_claim")
            return True
        if result.backup:
            tenant.backup = result.backup
            tenant.saved_before = len(tenant.done)
            if tenant.announced is not None:
                tenant.announced.recorded()
                tenant.announced = None
            self._ctx.watcher.backed_up(name, result.backup)
            return True
        failpoints.reach("runner.after_record")
        tenant.steps += result.steps
        tenant.skipped += result.skipped
        tenant.done.append(tenant.migration.id)
        if len(tenant.done) < len(tenant.plan.pending):
            return True
        self._good += 1
        del self._claimed[name]
        applied = self._ctx.state(name).applied
        outcome = tenant.migrated(applied[-1].version if applied else None)
        queue.finished(outcome, tenant.seconds)
        return False

    async def _announce(self, batch: list[BulkTenant], queue: BulkQueue) -> None:
        """Make room for the backups that come next; tenants for which there is none leave the batch."""
        ctx = self._ctx
        saving = [
            tenant
            for tenant in batch
            if tenant.saved_before != len(tenant.done)
            and backups.wanted(
                ctx, tenant.migration, tenant.target, taken=tenant.backup is not None
            )
        ]
        if not saving:
            return
        labelled = [(tenant.target, f"pre_{tenant.migration.ref.version}") for tenant in saving]
        announced = await backups.announce(ctx, labelled, now=datetime.now(UTC))
        for tenant, room in zip(saving, announced, strict=True):
            if isinstance(room, backups.Announced):
                tenant.announced = room
            else:
                batch.remove(tenant)
                self._fall_back(tenant, queue)

    async def _order(self, batch: Sequence[BulkTenant]) -> None:
        orders = []
        for tenant in batch:
            task = tenant.plan.tasks[len(tenant.done)]
            number = next(self._numbers)
            self._ordered[number] = tenant
            order = Order(
                number=number,
                task=task.number,
                tenant=tenant.target.name,
                url=tenant.target.url,
                epoch=tenant.epoch,
                backup=str(tenant.announced.path) if tenant.announced else "",
                more=tenant.announced is not None or tenant.following is not None,
                lease_until=self._ctx.lease_until,
            )
            orders.append((task, order))
        await self._executor.submit(orders)

    async def _interrupt(self, queue: BulkQueue) -> None:
        """The work is ended at once; the claims of what was worked on end with an event."""
        tenants = list(self._claimed.values())
        requests = [self._interrupted(tenant) for tenant in tenants]
        unrecorded: dict[str, StoreError | None] = dict.fromkeys(self._claimed)
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_SECONDS):
            await self._executor.cancel()
            outcomes = await self._append(requests) if requests else ()
            for tenant, appended in zip(tenants, outcomes, strict=True):
                if isinstance(appended, StoreError):
                    unrecorded[tenant.target.name] = appended
                else:
                    del unrecorded[tenant.target.name]
        for tenant in tenants:
            name = tenant.target.name
            if tenant.announced is not None:
                tenant.announced.withdraw()
            error = interrupted(name)
            if name in unrecorded:
                why = unrecorded[name] or "the ledger did not answer in time"
                error.message += f"; and that could not be recorded: {why}"
            outcome = failure(name, error, done=tuple(tenant.done))
            outcome = msgspec.structs.replace(outcome, error="interrupted")
            queue.finished(outcome, tenant.seconds)

    def _interrupted(self, tenant: BulkTenant) -> Prepared:
        """The end of a claim whose work was cut short."""
        name = tenant.target.name
        event = failed_event(
            self._ctx.command,
            interrupted(name),
            migration=tenant.migration.ref,
            direction="up",
            duration_us=tenant.worked_us,
        )
        return self._ctx.prepared(name, [("failed", ev.encode_body(event))])


class _Rate:
    """Orders carried out per second, lately."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self._at = anyio.current_time()

    def count(self, number: int) -> None:
        """That many more have ended now."""
        now = anyio.current_time()
        if number and now > self._at:
            self.per_second += (number / (now - self._at) - self.per_second) / 4
            self._at = now
