"""Group commit: appends that wait at the same time share one transaction.

There is no background task and no timer. The first caller that finds no commit
under way leads: it takes all that waits, commits once, tells everyone, and
hands the lead to the next one waiting. Invariant: a caller is told only after
the commit of its batch; a cancelled caller never disturbs the batch it is in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreError, StoreUnavailableError
from ledger.events import Recorded
from ledger.stores.base import Append
from ledger.stores.chain import Outcome, Prepared, prepare

BATCH_EVENTS: Final = 2_000
BATCH_BYTES: Final = 8 * 1024 * 1024
WAITING_REQUESTS: Final = 4_096
CLOSE_SECONDS: Final = 10.0

Commit = Callable[[Sequence[Prepared]], Awaitable[Sequence[Outcome]]]
"""Commit a batch durably: one outcome per request; an exception fails the whole batch."""


class _Ticket:
    """One waiting request. `lead` asks its caller to commit the next batch, its own request first."""

    __slots__ = ("lead", "outcome", "prepared", "taken", "told")

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.told = anyio.Event()
        self.taken = False
        self.lead = False
        self.outcome: Outcome | None = None


class Appender:
    """The queue before a store's commit. `commits`, `appends` and `events` count what was committed.

    `refuse` may raise StoreError for a request that the database could not hold.
    """

    def __init__(
        self,
        commit: Commit,
        *,
        deadline_seconds: float,
        refuse: Callable[[Prepared], None] | None = None,
    ) -> None:
        self._commit = commit
        self._refuse = refuse
        self._deadline_seconds = deadline_seconds
        self._queue: deque[_Ticket] = deque()
        self._room = anyio.Semaphore(WAITING_REQUESTS)
        self._led = False
        self._closed = False
        self._idle = anyio.Event()
        self.commits = 0
        self.appends = 0
        self.events = 0

    async def append(self, request: Append) -> tuple[Recorded, ...]:
        """Append with whatever else waits. Raises what `Store.append` says."""
        ticket = _Ticket(prepare(request))
        if self._refuse is not None:
            self._refuse(ticket.prepared)
        try:
            self._room.acquire_nowait()
        except anyio.WouldBlock:
            await self._room.acquire()
        try:
            self._refuse_when_closed()
            self._queue.append(ticket)
            if self._led:
                await self._wait(ticket)
            else:
                self._led = ticket.lead = True
            if ticket.outcome is None:
                await self._lead()
        finally:
            self._room.release()
        if isinstance(ticket.outcome, tuple):
            return ticket.outcome
        raise ticket.outcome or StoreError("the append was given up")

    async def aclose(self) -> None:
        """Let what is queued finish, within a deadline; refuse what comes after."""
        self._closed = True
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            while self._led:
                await self._idle.wait()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the ledger was closed; nothing was appended")

    async def _wait(self, ticket: _Ticket) -> None:
        try:
            await ticket.told.wait()
        except anyio.get_cancelled_exc_class():
            if not ticket.taken:
                self._queue.remove(ticket)
                if ticket.lead:
                    self._hand_over()
            raise

    async def _lead(self) -> None:
        """Commit one batch for all in it; shielded, since the others must not share our cancellation."""
        batch: list[_Ticket] = []
        try:
            with anyio.CancelScope(shield=True):
                # One turn of the loop: callers that are ready at this moment come along.
                await anyio.lowlevel.checkpoint()
            batch = self._take()
            with anyio.move_on_after(self._deadline_seconds, shield=True):
                outcomes = await self._commit([ticket.prepared for ticket in batch])
                self._count(outcomes)
                for ticket, outcome in zip(batch, outcomes, strict=True):
                    ticket.outcome = outcome
        except StoreError as error:
            for ticket in batch:
                ticket.outcome = _copy(error)
        finally:
            for ticket in batch:
                if ticket.outcome is None:
                    ticket.outcome = _unknown()
                ticket.told.set()
            self._hand_over()

    def _take(self) -> list[_Ticket]:
        """The oldest requests, as many as fit into one batch, and always one."""
        batch: list[_Ticket] = []
        events = size = 0
        while self._queue:
            prepared = self._queue[0].prepared
            events += len(prepared.bodies)
            size += prepared.size
            if batch and (events > BATCH_EVENTS or size > BATCH_BYTES):
                break
            ticket = self._queue.popleft()
            ticket.taken = True
            batch.append(ticket)
        return batch

    def _hand_over(self) -> None:
        if self._queue:
            self._queue[0].lead = True
            self._queue[0].told.set()
            return
        self._led = False
        self._idle.set()
        self._idle = anyio.Event()

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        self.commits += 1
        for outcome in outcomes:
            if isinstance(outcome, tuple):
                self.appends += 1
                self.events += len(outcome)


def _copy(error: StoreError) -> StoreError:
    """An error of the batch for each of its callers: one exception object is not raised twice."""
    copy: StoreError
    if isinstance(error, ChainBrokenError):
        copy = ChainBrokenError(error.message, seq=error.seq, hint=error.hint)
    else:
        kind = (
            type(error) if type(error) in (StoreUnavailableError, NewerLedgerError) else StoreError
        )
        copy = kind(error.message, hint=error.hint)
    copy.__cause__ = error.__cause__ or error
    return copy


def _unknown() -> StoreError:
    return StoreUnavailableError(
        "the ledger did not confirm an append in time; whether it was recorded is not known",
        hint="Run the same command again: what was recorded is recognised and not appended twice.",
    )
