"""Group commit: appends that wait at the same time share one transaction.

There is no background task and no timer. The first caller of a batch leads it:
when the batch before is committed, it seals its own, commits it, and tells
everyone in it. Where the store lets us, it does so one batch earlier: its own is
sealed and chained while the one before is being written. Invariant: a caller is
told only after the commit of its batch; a cancelled caller never disturbs the
batch it is in.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreError, StoreUnavailableError
from ledger.events import Recorded
from ledger.stores.base import Append, Prepared
from ledger.stores.chain import Chained, Outcome, prepare
from ledger.stores.tip import Guess, Tip

log = logging.getLogger("ledger.store")

BATCH_EVENTS: Final = 2_000
BATCH_BYTES: Final = 8 * 1024 * 1024
SPLIT_EVENTS: Final = 64
"""Fewer are not worth a commit of their own: more that wait go half and half, each chained while
the other is written."""
WAITING_REQUESTS: Final = 4_096
CLOSE_SECONDS: Final = 10.0

Commit = Callable[[Sequence[Prepared], Guess | None], Awaitable[Chained]]
"""Commit a batch durably, as it was chained ahead if that still holds: one outcome per request.

An exception fails the whole batch."""


class _Batch:
    """Requests that will share a commit. `done` is set when `outcomes` or `error` is there.

    `sent` is set when it is on its way; `before` is the batch that was led before it,
    while that may not be done.
    """

    __slots__ = (
        "before",
        "done",
        "error",
        "events",
        "outcomes",
        "requests",
        "sealed",
        "sent",
        "size",
    )

    def __init__(self, before: _Batch | None) -> None:
        self.before = before
        self.sent = anyio.Event()
        self.requests: list[Prepared | None] = []
        self.outcomes: Sequence[Outcome | None] = ()
        self.error: StoreError | None = None
        self.events = 0
        self.size = 0
        self.sealed = False
        self.done = anyio.Event()

    def takes(self, prepared: Prepared, most: int) -> bool:
        """Whether the request fits into `most` events; an empty batch takes any."""
        return not self.sealed and (
            not self.requests
            or (
                self.events + len(prepared.events) <= most
                and self.size + prepared.size <= BATCH_BYTES
            )
        )

    def add(self, prepared: Prepared) -> int:
        """The request's place."""
        self.requests.append(prepared)
        self.events += len(prepared.events)
        self.size += prepared.size
        return len(self.requests) - 1

    def outcome(self, place: int) -> Outcome:
        """What became of the request at `place`: what was recorded, or its StoreError."""
        if self.error is not None:
            return _copy(self.error)
        outcome = self.outcomes[place]
        return StoreError("the append was given up") if outcome is None else outcome

    def result(self, place: int) -> tuple[Recorded, ...]:
        """What the caller at `place` is told. Raises its StoreError."""
        outcome = self.outcome(place)
        if isinstance(outcome, tuple):
            return outcome
        raise outcome


class Appender:
    """The queue before a store's commit. `commits`, `appends` and `events` count what was committed.

    `refuse` may raise StoreError for a request that the database could not hold. With
    `clock`, which stamps events, batches are chained ahead of their transactions.
    """

    def __init__(
        self,
        commit: Commit,
        *,
        deadline_seconds: float,
        refuse: Callable[[Prepared], None] | None = None,
        clock: Callable[[], str] | None = None,
    ) -> None:
        self._commit = commit
        self._clock = clock
        self._tip = Tip()
        self._refuse = refuse
        self._deadline_seconds = deadline_seconds
        self._last: _Batch | None = None
        self._waiting = 0
        self._waiting_events = 0
        self._sent: _Batch | None = None
        self._closed = False
        self.commits = 0
        self.appends = 0
        self.events = 0

    async def append(self, request: Append | Prepared) -> tuple[Recorded, ...]:
        """Append with whatever else waits. Raises what `Store.append` says."""
        prepared = prepare(request) if isinstance(request, Append) else request
        if self._refuse is not None:
            self._refuse(prepared)
        while self._waiting >= WAITING_REQUESTS and self._last is not None:
            await self._last.done.wait()
        if self._closed:
            raise StoreUnavailableError("the ledger was closed; nothing was appended")
        events = len(prepared.events)
        self._waiting += 1
        self._waiting_events += events
        try:
            before = self._last
            if before is not None and before.takes(prepared, self._most()):
                batch, place = before, before.add(prepared)
                await self._follow(batch, place)
            else:
                batch = self._last = _Batch(before)
                place = batch.add(prepared)
                await self._lead(batch, before)
        finally:
            self._waiting -= 1
            self._waiting_events -= events
        return batch.result(place)

    async def append_all(self, requests: Sequence[Prepared]) -> list[Outcome]:
        """Append many in as few commits as they fit in. See `Store.append_all`."""
        if self._closed:
            raise StoreUnavailableError("the ledger was closed; nothing was appended")
        led: list[tuple[_Batch, _Batch | None]] = []
        places: list[tuple[_Batch, int]] = []
        for prepared in requests:
            if self._refuse is not None:
                self._refuse(prepared)
            if not led or not led[-1][0].takes(prepared, BATCH_EVENTS):
                led.append((_Batch(self._last), self._last))
                self._last = led[-1][0]
            batch = led[-1][0]
            places.append((batch, batch.add(prepared)))
        # Others may be waiting in each of them: none is left without its leader.
        with anyio.CancelScope(shield=True):
            for batch, before in led:
                await self._lead(batch, before)
        return [batch.outcome(place) for batch, place in places]

    async def aclose(self) -> None:
        """Let what is queued finish, within a deadline; refuse what comes after."""
        self._closed = True
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            batch = self._last
            while batch is not None:
                await batch.done.wait()
                batch = batch.before

    def _most(self) -> int:
        """How many events a batch may take: half of what waits, where two batches can be on their way."""
        if not self._tip.known:
            return BATCH_EVENTS
        return min(max(SPLIT_EVENTS, self._waiting_events // 2), BATCH_EVENTS)

    async def _follow(self, batch: _Batch, place: int) -> None:
        try:
            await batch.done.wait()
        except anyio.get_cancelled_exc_class():
            if not batch.sealed:
                batch.requests[place] = None
            raise

    async def _lead(self, batch: _Batch, before: _Batch | None) -> None:
        """Commit a batch for all in it; shielded, since the others must not share our cancellation.

        Each batch waits for the one before, or for the one before that, and each has
        its deadline, so that the shield ends.
        """
        try:
            with anyio.CancelScope(shield=True):
                if before is not None:
                    await self._turn(before)
                # One turn of the loop: callers that are ready at this moment come along.
                await anyio.lowlevel.checkpoint()
            batch.sealed = True
            with anyio.move_on_after(self._deadline_seconds, shield=True):
                batch.outcomes = await self._commit_once(batch)
        except StoreError as error:
            batch.error = error
        finally:
            batch.sealed = True
            if batch.error is None and not batch.outcomes:
                batch.error = _unknown()
            if batch.error is not None:
                self._tip.forget()
            batch.sent.set()
            batch.done.set()

    async def _turn(self, before: _Batch) -> None:
        """Wait until at most one other batch is on its way, and none where the tip is not known."""
        await before.sent.wait()
        if before.before is not None:
            await before.before.done.wait()
            before.before = None
        if not self._tip.known:
            await before.done.wait()

    async def _commit_once(self, batch: _Batch) -> Sequence[Outcome | None]:
        """One outcome per place; None where the caller has gone."""
        wanted = [prepared for prepared in batch.requests if prepared is not None]
        guess = self._tip.chain(wanted, self._clock()) if self._clock is not None else None
        self._sent = batch
        batch.sent.set()
        chained = await self._commit(wanted, guess)
        if self._clock is not None and (guess is None or chained is not guess.chained):
            if self._sent is batch:
                self._tip.settle(chained.head)
            else:
                self._tip.forget()
        found = chained.outcomes
        self.commits += 1
        self.appends += len(found)
        events = sum(len(outcome) for outcome in found if isinstance(outcome, tuple))
        self.events += events
        if log.isEnabledFor(logging.DEBUG):
            log.debug("committed %d events of %d appends", events, len(found))
        if len(found) == len(batch.requests):
            return found
        remaining = iter(found)
        return [None if prepared is None else next(remaining) for prepared in batch.requests]


def _copy(error: StoreError) -> StoreError:
    """An error of the batch for each of its callers: one exception object is not raised twice."""
    copy: StoreError
    if isinstance(error, ChainBrokenError):
        copy = ChainBrokenError(error.message, seq=error.seq, hint=error.hint)
    else:
        known = type(error) in (StoreUnavailableError, NewerLedgerError)
        copy = (type(error) if known else StoreError)(error.message, hint=error.hint)
    copy.__cause__ = error.__cause__ or error
    return copy


def _unknown() -> StoreError:
    return StoreUnavailableError(
        "the ledger did not confirm an append in time; whether it was recorded is not known",
        hint="Run the same command again: what was recorded is recognised and not appended twice.",
    )
