"""SIGINT and SIGTERM from a command's beginning to its end.

Invariant: a signal is never lost and never ends the process without a word, and the
process ends within a limit. While a run is under way the first signal is the run's; before
it there is nothing to finish; after it only the summary is left. A second signal ends the
process at once, which is as safe as kill -9.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NoReturn

import anyio
import anyio.abc

from ledger.errors import StoppedError

GRACE_SECONDS = 30.0
"""How long tenants in hand, and whatever else is to be ended in order, may take after the first signal."""

Listener = Callable[[signal.Signals], None]


class Signals:
    """What hears of the first signal. `received` is that signal, once it has come.

    `before_exit` is called where a signal ends the process at once: it puts the terminal in order,
    and must not wait.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.before_exit: Callable[[], None] | None = None
        self._listener: Listener | None = None
        self._run_over = False

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """For the length of a run: it decides what becomes of the tenants in hand."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener, self._run_over = None, True

    def receive(self, number: signal.Signals, scope: anyio.CancelScope) -> None:
        """The first signal: to the run, or else to the command, whose `scope` this is."""
        self.received = number
        if self._listener is not None:
            self._listener(number)
        elif self._run_over:
            scope.deadline = anyio.current_time() + GRACE_SECONDS
        else:
            scope.cancel()

    def end_process(self, number: int) -> NoReturn:
        """Leave all as kill -9 would, but for the terminal."""
        if self.before_exit is not None:
            with suppress(Exception):
                self.before_exit()
        os._exit(128 + number)


@asynccontextmanager
async def receiving() -> AsyncIterator[Signals]:
    """Receive both signals for the block (the main thread only). Raises StoppedError if one cut it short."""
    signals = Signals()
    failed: Exception | None = None
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            await group.start(_receive, signals, scope, group)
            try:
                yield signals
            except Exception as error:
                failed = error
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    if scope.cancelled_caught and signals.received is not None:
        raise StoppedError(f"stopped by {signals.received.name}; no run was begun")


async def _receive(
    signals: Signals,
    scope: anyio.CancelScope,
    group: anyio.abc.TaskGroup,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            if signals.received is not None:
                signals.end_process(number)
            signals.receive(signal.Signals(number), scope)
            if scope.cancel_called:
                group.start_soon(_end_late, signals, number)


async def _end_late(signals: Signals, number: int) -> None:
    """What was cancelled and does not end is left as kill -9 would leave it."""
    await anyio.sleep(GRACE_SECONDS)
    signals.end_process(number)
