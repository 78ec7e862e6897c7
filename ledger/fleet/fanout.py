"""Work on many things at once: bounded over all and on each server, and fair.

Invariant: while another server has something waiting, a server gets no place beyond its share: one
that does not answer keeps only what is its own waiting.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio

from ledger.engines.base import Target
from ledger.fleet.progress import Progress
from ledger.fleet.width import PATIENCE_SECONDS, Width, width_of

A = TypeVar("A")
B = TypeVar("B")


class _Server(Generic[A]):
    """What waits for one server, and how much of it is worked on; all files are one server, without a width."""

    def __init__(self, width: Width | None) -> None:
        self.width = width
        self.waiting: deque[A] = deque()
        self.busy = 0
        self.entered = anyio.current_time()

    def has_place(self) -> bool:
        """Whether one more may be worked on there."""
        return self.width is None or self.width.free


class FanOut(Generic[A]):
    """Does `work` on everything that is added, at most `parallel` at once, which may change meanwhile.

    What `skip` is true of when its turn comes is left out.
    """

    def __init__(
        self,
        work: Callable[[A], Awaitable[None]],
        parallel: int,
        skip: Callable[[A], bool] = lambda _: False,
    ) -> None:
        self.parallel = parallel
        self.busy = 0
        self._work = work
        self._skip = skip
        self._beside = False
        self._servers: dict[str, _Server[A]] = {}
        self._news = anyio.Event()

    def add(self, item: A, width: Width | None = None) -> None:
        """One more; `width` is that of its server."""
        name = width.server if width is not None else ""
        server = self._servers.get(name)
        if server is None:
            server = self._servers[name] = _Server(width)
            if width is not None:
                width.listeners.add(self.wake)
        server.waiting.append(item)
        self._news.set()

    def wake(self) -> None:
        """Look again for a free place."""
        self._news.set()

    async def run(self, beside: Callable[[], Awaitable[None]] | None = None) -> None:
        """Until nothing waits and nothing is worked on, and `beside`, which may add more, has ended."""
        try:
            async with anyio.create_task_group() as group:
                if beside is not None:
                    self._beside = True
                    group.start_soon(self._run_beside, beside)
                while True:
                    while (server := self._next()) is not None:
                        self._enter(server)
                        group.start_soon(self._one, server, server.waiting.popleft())
                    if not (self._beside or self.busy or self._waiting()):
                        return
                    await self._change()
        finally:
            for server in self._servers.values():
                if server.width is not None:
                    server.width.listeners.discard(self.wake)

    async def _run_beside(self, beside: Callable[[], Awaitable[None]]) -> None:
        await beside()
        self._beside = False
        self._news.set()

    def _waiting(self) -> list[_Server[A]]:
        return [server for server in self._servers.values() if server.waiting]

    def _next(self) -> _Server[A] | None:
        """The server with a free place of which the fewest are worked on, if one has something waiting."""
        if self.busy >= self.parallel:
            return None
        for server in self._waiting():
            while server.waiting and self._skip(server.waiting[0]):
                server.waiting.popleft()
        free = [server for server in self._waiting() if server.has_place()]
        return min(free, key=lambda server: server.busy, default=None)

    def _enter(self, server: _Server[A]) -> None:
        self.busy += 1
        server.busy += 1
        server.entered = anyio.current_time()
        if server.width is not None:
            server.width.enter(server.entered)

    async def _one(self, server: _Server[A], item: A) -> None:
        try:
            await self._work(item)
        finally:
            self.busy -= 1
            server.busy -= 1
            self._news.set()
            if server.width is not None:
                server.width.leave(anyio.current_time())

    async def _change(self) -> None:
        """Until something may be begun; a server on which no place came free for long gets more of them."""
        blocked = [server for server in self._waiting() if not server.has_place()]
        with anyio.move_on_after(PATIENCE_SECONDS if blocked else None):
            await self._news.wait()
        self._news = anyio.Event()
        now = anyio.current_time()
        for server in blocked:
            if server.width is not None and now - server.entered >= PATIENCE_SECONDS:
                server.entered = now
                server.width.widen()


async def each(items: Sequence[A], work: Callable[[A], Awaitable[B]], *, parallel: int) -> list[B]:
    """`work` on every item, at most `parallel` at once, in the items' order."""
    results: dict[int, B] = {}

    async def work_on(number: int) -> None:
        results[number] = await work(items[number])

    fan = FanOut(work_on, parallel)
    for number in range(len(items)):
        fan.add(number)
    await fan.run()
    return [results[number] for number in range(len(items))]


async def each_target(
    targets: Sequence[Target],
    work: Callable[[Target], Awaitable[A]],
    *,
    command: str,
    parallel: int,
    progress: Progress,
    outcome: Callable[[A], tuple[str, str]],
) -> list[A]:
    """`work` on every target, in the targets' order; `outcome` gives outcome and detail of a result.

    At most `parallel` at once, and at most its limit on a server.
    """
    results: dict[str, A] = {}
    progress.run_started(len(targets), command)

    async def work_on(target: Target) -> None:
        progress.tenant_started(target.name)
        began = time.perf_counter()
        result = results[target.name] = await work(target)
        progress.tenant_finished(target.name, *outcome(result), time.perf_counter() - began)

    fan = FanOut(work_on, parallel)
    for target in targets:
        fan.add(target, width_of(target))
    await fan.run()
    return [results[target.name] for target in targets]
