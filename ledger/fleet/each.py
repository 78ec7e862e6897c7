"""Looking at many tenants at once without a run: bounded over all, and on each server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from ledger.engines.base import Target
from ledger.fleet.progress import Progress

T = TypeVar("T")


async def each_target(
    targets: Sequence[Target],
    work: Callable[[Target], Awaitable[T]],
    *,
    command: str,
    parallel: int,
    progress: Progress,
    said: Callable[[T], tuple[str, str]],
) -> list[T]:
    """`work` on every target, in the targets' order; `said` tells outcome and detail of a result.

    At most `parallel` at once, and at most its limit on a server.
    """
    results: dict[str, T] = {}
    limits: dict[str, anyio.CapacityLimiter] = {}
    everywhere = anyio.CapacityLimiter(parallel)
    waiting = list(reversed(targets))
    progress.run_started(len(targets), command)

    async def worker() -> None:
        while waiting:
            target = waiting.pop()
            width = target.max_connections if target.server else parallel
            limit = limits.setdefault(target.server, anyio.CapacityLimiter(width))
            async with limit, everywhere:
                progress.tenant_started(target.name)
                began = time.perf_counter()
                result = results[target.name] = await work(target)
                seconds = time.perf_counter() - began
                progress.tenant_finished(target.name, *said(result), seconds)

    async with anyio.create_task_group() as group:
        for _ in range(min(parallel, len(targets))):
            group.start_soon(worker)
    return [results[target.name] for target in targets]
