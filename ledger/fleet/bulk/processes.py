"""Worker processes for SQLite tenants, where Python, not the database, is the bound.

The run keeps the ledger: it claims and records, workers only run what it orders (see
ledger.fleet.bulk.run). Invariant: every order is answered, at the latest when its worker's
process is gone; and a worker's process is gone before anybody else touches its tenants.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar

import anyio
from anyio.abc import Process

from ledger.engines.base import Target
from ledger.errors import LedgerError
from ledger.fleet.bulk import messages as wire
from ledger.plan import Catalogue

T = TypeVar("T")
R = TypeVar("R")

Workers = int | Literal["auto"]

WORTHWHILE: Final = 100
"""Fewer tenants than this are done before a worker has started."""

LANES: Final = 8
"""Tenants that a worker may have open at once: as many as it takes to be busy on a slow disk."""

STOP_SECONDS: Final = 10.0
CHUNK_BYTES: Final = 1 << 18


def how_many(
    workers: Workers, targets: Sequence[Target], catalogues: Mapping[str, Catalogue]
) -> int:
    """How many worker processes are worth it: one a core, none for a small fleet or Python migrations.

    Functions of `.py` migrations cannot be sent to another process; those
    fleets are migrated in this one.
    """
    files = [target for target in targets if target.engine == "sqlite"]
    if any(one.python for target in files for one in catalogues[target.name].order):
        return 0
    if workers != "auto":
        return min(workers, len(files))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1 if len(files) >= WORTHWHILE else 0


class Worker(Generic[T]):
    """One process. `hand` holds the orders that it has not answered, each with whatever belongs to it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._outgoing: list[bytes] = []
        self.hand: dict[int, T] = {}
        self.tasks: set[int] = set()
        self.gone = False
        self.heard = anyio.current_time()

    def tell(self, message: object) -> None:
        """Queue a message for the next `flush`."""
        self._outgoing.append(wire.frame(message))

    async def flush(self) -> None:
        """Send what is queued; a process that is gone is noticed by who listens to it."""
        data, self._outgoing = b"".join(self._outgoing), []
        if data and self._process.stdin is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._process.stdin.send(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the process sends, until it is gone."""
        if self._process.stdout is None:
            return
        try:
            while True:
                yield await self._process.stdout.receive(CHUNK_BYTES)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def kill(self) -> None:
        """End the process at once, which is as safe as any kill -9; returns when it is gone."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
        self.gone = True

    async def stop(self) -> None:
        """Let the process end by itself; past the limit it is killed."""
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        with anyio.move_on_after(STOP_SECONDS, shield=True):
            await self._process.wait()
        await self.kill()
        await self._process.aclose()


class Pool(Generic[T]):
    """The workers, and what they have told. `news` is set when there is something to look at."""

    def __init__(self, workers: Sequence[Worker[T]]) -> None:
        self.workers = workers
        self.told: deque[tuple[Worker[T], wire.Told]] = deque()
        self.news = anyio.Event()

    @property
    def living(self) -> list[Worker[T]]:
        """Those that still take orders."""
        return [worker for worker in self.workers if not worker.gone]

    async def listen(self, worker: Worker[T]) -> None:
        """Collect what one worker tells, until it is gone."""
        frames = wire.Frames()
        async for chunk in worker.chunks():
            worker.heard = anyio.current_time()
            for reports in frames.feed(chunk):
                self.told.extend((worker, told) for told in reports)
            self.news.set()
        await worker.kill()
        self.news.set()


async def with_pool(workers: int, body: Callable[[Pool[T]], Awaitable[R]]) -> R:
    """Do `body` with worker processes, which start while it prepares itself; they are gone after it."""
    started: list[Worker[T]] = []
    pool = Pool(started)
    result: list[R] = []
    failed: LedgerError | None = None
    try:
        # Whatever ends this, those that have started are ended below.
        with anyio.CancelScope(shield=True):
            for _ in range(workers):
                started.append(Worker(await _start()))
        async with anyio.create_task_group() as group:
            for worker in pool.workers:
                group.start_soon(pool.listen, worker)
            try:
                result.append(await body(pool))
            except LedgerError as error:
                # Kept aside, since a task group would wrap it into an ExceptionGroup.
                failed = error
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as ending:
                for worker in pool.workers:
                    ending.start_soon(worker.stop)
    if failed is not None:
        raise failed
    return result[0]


async def _start() -> Process:
    # Whatever goes wrong there goes wrong again here, and is told as an error.
    return await anyio.open_process(
        [sys.executable, "-c", "from ledger.fleet.bulk.worker import main; main()"],
        stderr=None if os.environ.get("LEDGER_DEBUG") else subprocess.DEVNULL,
    )
