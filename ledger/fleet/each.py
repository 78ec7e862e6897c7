"""Looking at many tenants at once without a run: bounded over all and on each server, and fair.

Invariant: while another server has tenants waiting, a server gets no place beyond its share: one
that does not answer keeps only its own tenants waiting.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from ledger.engines.base import Target
from ledger.fleet.progress import Progress

T = TypeVar("T")


class _Server:
    """The tenants of one server that wait, and how many are being looked at; files count as one server."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.waiting: deque[Target] = deque()
        self.busy = 0


async def each_target(
    targets: Sequence[Target],
    work: Callable[[Target], Awaitable[T]],
    *,
    command: str,
    parallel: int,
    progress: Progress,
    said: Callable[[T], tuple[str, str]],
) -> list[T]:
    """`work` on every target, in the targets' order; `said` gives outcome and detail of a result.

    At most `parallel` at once, and at most its limit on a server.
    """
    results: dict[str, T] = {}
    servers: dict[str, _Server] = {}
    for target in targets:
        width = target.max_connections if target.server else parallel
        servers.setdefault(target.server, _Server(width)).waiting.append(target)
    progress.run_started(len(targets), command)

    async def worker() -> None:
        # A place that becomes free is taken by the worker that has freed it.
        while free := [one for one in servers.values() if one.waiting and one.busy < one.width]:
            server = min(free, key=lambda one: one.busy)
            target = server.waiting.popleft()
            server.busy += 1
            progress.tenant_started(target.name)
            began = time.perf_counter()
            try:
                result = results[target.name] = await work(target)
            finally:
                server.busy -= 1
            progress.tenant_finished(target.name, *said(result), time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(min(parallel, len(targets))):
            group.start_soon(worker)
    return [results[target.name] for target in targets]
