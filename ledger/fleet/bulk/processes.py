"""Worker processes: the executor for tenants where Python, not the database, is the bound.

Invariant: see Executor. A process that is lost is gone before its orders come back as problems.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal, TypeVar

import anyio
import msgspec
from anyio.abc import Process

from ledger.engines import batch_for
from ledger.engines.base import Target
from ledger.errors import LedgerError
from ledger.fleet.bulk.messages import Frames, Order, Result, Setup, Task, frame
from ledger.plan import Catalogue

R = TypeVar("R")

Workers = int | Literal["auto"]

WORTHWHILE: Final = 100
"""Fewer tenants than this are done before a worker has started."""

LANES: Final = 8
"""Tenants that a worker may work on at once: as many as it takes to be busy on a slow disk."""

STALL_SECONDS: Final = 30.0
"""A worker that sends nothing for so long, though it has orders, is ended."""

WAIT_SECONDS: Final = 1.0
STOP_SECONDS: Final = 10.0
CHUNK_BYTES: Final = 1 << 18


def how_many(
    workers: Workers, targets: Sequence[Target], catalogues: Mapping[str, Catalogue]
) -> int:
    """How many worker processes are worth it: one a core, none for a small fleet or Python migrations.

    Functions of `.py` migrations cannot be sent to another process; those
    fleets are migrated in this one.
    """
    fit = [target for target in targets if batch_for(target.engine) is not None]
    if any(migration.python for target in fit for migration in catalogues[target.name].order):
        return 0
    if workers != "auto":
        return min(workers, len(fit))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1 if len(fit) >= WORTHWHILE else 0


class _Worker:
    """One process. `orders` are the numbers of those without a result, `tasks` those that it knows."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.orders: set[int] = set()
        self.tasks: set[int] = set()
        self.gone = False
        self.heard = anyio.current_time()
        self._outgoing: list[bytes] = []

    def queue(self, message: object) -> None:
        """Keep a message for the next `flush`."""
        self._outgoing.append(frame(message))

    async def flush(self) -> None:
        """Send what is queued; its listener notices that a process is gone."""
        data, self._outgoing = b"".join(self._outgoing), []
        if data and self.process.stdin is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self.process.stdin.send(data)

    async def kill(self) -> None:
        """End the process at once, which is as safe as any kill -9; returns when it is gone."""
        with anyio.CancelScope(shield=True):
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
        self.gone = True

    async def stop(self) -> None:
        """Let the process end by itself; past the limit it is killed."""
        if self.process.stdin is not None:
            await self.process.stdin.aclose()
        with anyio.move_on_after(STOP_SECONDS, shield=True):
            await self.process.wait()
        await self.kill()
        await self.process.aclose()


class Processes:
    """The executor. See Executor for its methods."""

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._workers = workers
        self._results: list[Result] = []
        self._news = anyio.Event()
        self._placed: dict[str, _Worker] = {}
        self._next = 0

    @property
    def workers(self) -> int:
        return len(self._living)

    @property
    def _living(self) -> list[_Worker]:
        return [worker for worker in self._workers if not worker.gone]

    def set_up(self, setup: Setup) -> None:
        lanes = max(1, setup.lanes // len(self._workers))
        for worker in self._workers:
            worker.queue(msgspec.structs.replace(setup, lanes=lanes))

    async def submit(self, orders: Sequence[tuple[Task, Order]]) -> None:
        """See Executor; a tenant's orders go to the worker that has it open."""
        batches: dict[int, tuple[_Worker, list[Order]]] = {}
        for task, order in orders:
            worker = self._place(order)
            if worker is None:
                self._results.append(Result(order.number, "all worker processes are gone"))
                continue
            if task.number not in worker.tasks:
                worker.tasks.add(task.number)
                worker.queue(task)
            if not worker.orders:
                worker.heard = anyio.current_time()
            worker.orders.add(order.number)
            batches.setdefault(id(worker), (worker, []))[1].append(order)
        for worker, batch in batches.values():
            worker.queue(batch)
            await worker.flush()

    def _place(self, order: Order) -> _Worker | None:
        """The worker for an order: the tenant's, or the next one in turn."""
        worker = self._placed.pop(order.tenant, None)
        if worker is None or worker.gone:
            living = self._living
            if not living:
                return None
            self._next += 1
            worker = living[self._next % len(living)]
        if order.more:
            self._placed[order.tenant] = worker
        return worker

    def results(self) -> list[Result]:
        results, self._results = self._results, []
        return results

    async def wait(self) -> None:
        """See Executor; a worker that has orders and keeps silent is ended."""
        if not self._results:
            with anyio.move_on_after(WAIT_SECONDS):
                await self._news.wait()
        self._news = anyio.Event()
        for worker in self._living:
            if worker.orders and anyio.current_time() - worker.heard > STALL_SECONDS:
                await worker.kill()

    def wake(self) -> None:
        self._news.set()

    async def cancel(self) -> None:
        for worker in self._workers:
            await worker.kill()

    async def listen(self, worker: _Worker) -> None:
        """Collect what one worker sends, until it is gone; what it leaves undone is a problem."""
        frames = Frames()
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while worker.process.stdout is not None:
                chunk = await worker.process.stdout.receive(CHUNK_BYTES)
                worker.heard = anyio.current_time()
                for results in frames.feed(chunk):
                    worker.orders.difference_update([result.number for result in results])
                    self._results += results
                self._news.set()
        await worker.kill()
        lost, worker.orders = worker.orders, set()
        self._results += [Result(number, "the worker process is gone") for number in lost]
        self._news.set()


async def with_processes(
    workers: int, engines: Collection[str], body: Callable[[Processes], Awaitable[R]]
) -> R:
    """Do `body` with worker processes for tenants of `engines`; they start while it prepares itself,
    and are gone after it.
    """
    started: list[_Worker] = []
    executor = Processes(started)
    result: list[R] = []
    failed: LedgerError | None = None
    try:
        # Whatever ends this, those that have started are ended below.
        with anyio.CancelScope(shield=True):
            for _ in range(workers):
                started.append(_Worker(await _start(engines)))
        async with anyio.create_task_group() as group:
            for worker in started:
                group.start_soon(executor.listen, worker)
            try:
                result.append(await body(executor))
            except LedgerError as error:
                # Kept aside, since a task group would wrap it into an ExceptionGroup.
                failed = error
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as ending:
                for worker in started:
                    ending.start_soon(worker.stop)
    if failed is not None:
        raise failed
    return result[0]


async def _start(engines: Collection[str]) -> Process:
    # Whatever goes wrong there goes wrong again here, and is reported as an error.
    return await anyio.open_process(
        [sys.executable, "-c", "from ledger.fleet.bulk.worker import main; main()", *engines],
        stderr=None if os.environ.get("LEDGER_DEBUG") else subprocess.DEVNULL,
    )
