"""Group commit: appends that wait at the same time share one transaction.

There is no background task and no timer. The first caller of a batch leads it:
when the batch before is committed, it seals its own, commits it, and gives
everyone in it what became of their requests. Invariant: a caller gets its answer
only after the commit of its batch; a cancelled caller never disturbs the batch it is in.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from ledger.errors import StoreError, StoreUnavailableError
from ledger.events import Recorded
from ledger.stores.base import Append, Prepared
from ledger.stores.chain import Chained, Outcome, prepare

log = logging.getLogger("ledger.store")

BATCH_EVENTS: Final = 2_000
BATCH_BYTES: Final = 8 * 1024 * 1024
WAITING_REQUESTS: Final = 4_096
COMMIT_SECONDS: Final = 35.0
"""How long a commit may take, over all that a database tries again."""
CLOSE_SECONDS: Final = 10.0

Commit = Callable[[Sequence[Prepared]], Awaitable[Chained]]
"""Commit a batch durably: one outcome per request.

An exception fails the whole batch."""


class _Batch:
    """Requests that will share a commit. `done` is set when `outcomes` or `error` is there."""

    __slots__ = ("done", "error", "events", "outcomes", "requests", "sealed", "size")

    def __init__(self) -> None:
        self.requests: list[Prepared | None] = []
        self.outcomes: Sequence[Outcome | None] = ()
        self.error: StoreError | None = None
        self.events = 0
        self.size = 0
        self.sealed = False
        self.done = anyio.Event()

    def takes(self, prepared: Prepared) -> bool:
        """Whether the request fits; an empty batch takes any."""
        return not self.sealed and (
            not self.requests
            or (
                self.events + len(prepared.events) <= BATCH_EVENTS
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
        """What was recorded for the request at `place`. Raises its StoreError."""
        outcome = self.outcome(place)
        if isinstance(outcome, tuple):
            return outcome
        raise outcome


class Appender:
    """The queue before a store's commit. `commits`, `appends` and `events` count what was committed.

    `refuse` may raise StoreError for a request that the database could not hold.
    """

    def __init__(self, commit: Commit, *, refuse: Callable[[Prepared], None]) -> None:
        self._commit = commit
        self._refuse = refuse
        self._last: _Batch | None = None
        self._waiting = 0
        self._closed = False
        self.commits = 0
        self.appends = 0
        self.events = 0

    async def append(self, request: Append | Prepared) -> tuple[Recorded, ...]:
        """Append with whatever else waits. Raises what `Store.append` says."""
        prepared = prepare(request) if isinstance(request, Append) else request
        self._refuse(prepared)
        while self._waiting >= WAITING_REQUESTS and self._last is not None:
            await self._last.done.wait()
        if self._closed:
            raise StoreUnavailableError("the ledger was closed; nothing was appended")
        self._waiting += 1
        try:
            before = self._last
            if before is not None and before.takes(prepared):
                batch, place = before, before.add(prepared)
                await self._follow(batch, place)
            else:
                batch = self._last = _Batch()
                place = batch.add(prepared)
                await self._lead(batch, before)
        finally:
            self._waiting -= 1
        return batch.result(place)

    async def append_all(self, requests: Sequence[Prepared]) -> list[Outcome]:
        """Append many in as few commits as they fit in. See `Store.append_all`."""
        if self._closed:
            raise StoreUnavailableError("the ledger was closed; nothing was appended")
        for prepared in requests:
            self._refuse(prepared)
        led: list[tuple[_Batch, _Batch | None]] = []
        places: list[tuple[_Batch, int]] = []
        for prepared in requests:
            if not led or not led[-1][0].takes(prepared):
                led.append((_Batch(), self._last))
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
        if self._last is not None:
            # Each batch waits for the one before, so that the last is done after all others.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._last.done.wait()

    async def _follow(self, batch: _Batch, place: int) -> None:
        try:
            await batch.done.wait()
        except anyio.get_cancelled_exc_class():
            if not batch.sealed:
                batch.requests[place] = None
            raise

    async def _lead(self, batch: _Batch, before: _Batch | None) -> None:
        """Commit a batch for all in it; shielded, since the others must not share our cancellation.

        Each batch waits for the one before, and each has its deadline, so that the shield ends.
        """
        try:
            with anyio.CancelScope(shield=True):
                if before is not None:
                    await before.done.wait()
                # One turn of the loop: callers that are ready at this moment come along.
                await anyio.lowlevel.checkpoint()
            batch.sealed = True
            with anyio.move_on_after(COMMIT_SECONDS, shield=True):
                batch.outcomes = await self._commit_sealed(batch)
        except StoreError as error:
            batch.error = error
        finally:
            batch.sealed = True
            if batch.error is None and not batch.outcomes:
                batch.error = _unknown()
            batch.done.set()

    async def _commit_sealed(self, batch: _Batch) -> Sequence[Outcome | None]:
        """One outcome per place; None where the caller has gone."""
        wanted = [prepared for prepared in batch.requests if prepared is not None]
        found = (await self._commit(wanted)).outcomes
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
    again = copy.copy(error)
    again.__cause__ = error.__cause__ or error
    return again


def _unknown() -> StoreError:
    return StoreUnavailableError(
        "the ledger did not confirm an append in time; whether it was recorded is not known",
        hint="Run the same command again: what was recorded is recognised and not appended twice.",
    )
