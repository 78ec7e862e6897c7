"""Worker processes for SQLite tenants, where Python, not the database, is the bound.

The run keeps the ledger: workers claim and record through its one store, so that
appends still gather into common commits. Invariant: whatever happens to a
worker, each of its tenants gets an outcome, and what it had claimed is free as
soon as its process is gone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import anyio
from anyio.abc import Process, SocketStream, TaskGroup

from ledger.engines.base import Target
from ledger.errors import ConflictError, LedgerError, StoreError, TenantError
from ledger.events import Recorded
from ledger.fleet import wire
from ledger.plan import Catalogue, Options
from ledger.runner.context import RunContext
from ledger.runner.outcome import Outcome, failure
from ledger.stores.base import Filter

T = TypeVar("T")

Workers = int | Literal["auto"]

WORTHWHILE: Final = 200
"""Fewer tenants than this are done before a worker has started."""

ENOUGH_CORES: Final = 4
"""On two cores the messages cost what the second process gains (`bench.migrate`, workers 0 and 2)."""

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0


def how_many(
    workers: Workers, targets: Sequence[Target], catalogues: Mapping[str, Catalogue]
) -> int:
    """How many worker processes are worth it: none for a small fleet, few cores, or Python migrations.

    Functions of `.py` migrations cannot be sent to another process; those
    fleets are migrated in this one.
    """
    files = [target for target in targets if target.engine == "sqlite"]
    if any(one.python for target in files for one in catalogues[target.name].order):
        return 0
    if workers != "auto":
        return min(workers, len(files))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores if len(files) >= WORTHWHILE and cores and cores >= ENOUGH_CORES else 0


class _Worker:
    """One process, and the jobs it has in hand."""

    def __init__(self, sender: wire.Sender) -> None:
        self.sender = sender
        self.jobs: dict[int, tuple[anyio.Event, list[Outcome | None]]] = {}
        self.gone = False

    def finish(self, number: int, outcome: Outcome | None) -> None:
        event, box = self.jobs.pop(number)
        box.append(outcome)
        event.set()

    def lose_all(self) -> None:
        self.gone = True
        for number in list(self.jobs):
            self.finish(number, None)


class Pool:
    """Running workers. `migrate` gives a tenant to the one with the fewest in hand."""

    def __init__(self, ctx: RunContext, catalogues: Sequence[Catalogue]) -> None:
        self._ctx = ctx
        self._catalogues = {id(one): number for number, one in enumerate(catalogues)}
        self._workers: list[_Worker] = []
        self._numbers = count(1)

    async def migrate(self, target: Target, catalogue: Catalogue, *, inspect: bool) -> Outcome:
        """Migrate one tenant in a worker process. A cancelled job is rolled back there first."""
        living = [worker for worker in self._workers if not worker.gone]
        if not living:
            return failure(target.name, _lost())
        worker = min(living, key=lambda one: len(one.jobs))
        number = next(self._numbers)
        event, box = anyio.Event(), list[Outcome | None]()
        worker.jobs[number] = (event, box)
        state = self._ctx.fleet.tenants.get(target.name) or self._ctx.state(target.name)
        worker.sender.send(
            wire.Job(
                number=number,
                target=target,
                state=state,
                catalogue=self._catalogues[id(catalogue)],
                inspect=inspect,
            )
        )
        try:
            await event.wait()
        except anyio.get_cancelled_exc_class():
            worker.sender.send(wire.Cancel(number=number))
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await event.wait()
            raise
        return box[0] or failure(target.name, _lost())

    async def serve(self, stream: SocketStream, hello: wire.Hello) -> None:
        """Talk with one worker until it is gone."""
        receiver, sender = wire.Receiver(stream), wire.Sender(stream)
        worker = _Worker(sender)
        self._workers.append(worker)
        sender.send(hello)
        self._ctx.lease_listeners.append(lambda until: sender.send(wire.Renewed(until=until)))
        try:
            async with stream, anyio.create_task_group() as group:
                group.start_soon(sender.run)
                while True:
                    self._take(await receiver.receive(), worker, group)
        except* tuple(wire.GONE):
            pass
        finally:
            worker.lose_all()

    def _take(self, message: object, worker: _Worker, group: TaskGroup) -> None:
        if isinstance(message, wire.Call):
            group.start_soon(self._answer, message, worker.sender)
        elif isinstance(message, wire.Finished):
            worker.finish(message.number, message.outcome)
        elif isinstance(message, wire.Said):
            getattr(self._ctx.watcher, message.method)(*message.arguments)

    async def _answer(self, call: wire.Call, sender: wire.Sender) -> None:
        try:
            value = await self._call(call.method, call.arguments)
            sender.send(wire.Reply(number=call.number, value=value))
        except ConflictError as error:
            conflict = (error.stream, error.expected, error.found)
            trouble = wire.Trouble(message=error.message, hint=error.hint, conflict=conflict)
            sender.send(wire.Reply(number=call.number, error=trouble))
        except StoreError as error:
            trouble = wire.Trouble(message=error.message, hint=error.hint)
            sender.send(wire.Reply(number=call.number, error=trouble))

    async def _call(self, method: str, arguments: tuple[Any, ...]) -> object:
        store = self._ctx.store
        if method == "append":
            recorded = await store.append(arguments[0])
            self._ctx.fold_others(recorded)
            return recorded
        if method == "read":
            rows: list[Recorded] = []
            where: Filter = arguments[0]
            async for batch in store.read(where):
                rows += batch
            return rows
        if method == "script":
            return await store.script(arguments[0])
        if method == "now":
            return await store.now()
        return await store.head()


def _lost() -> LedgerError:
    return TenantError(
        "its worker process ended unexpectedly",
        hint="Run the same command again; it goes on from there.",
    )


async def with_pool(
    ctx: RunContext,
    workers: int,
    catalogues: Sequence[Catalogue],
    options: Options,
    limits: dict[str, float],
    body: Callable[[Pool], Awaitable[T]],
) -> T:
    """Start worker processes, do `body` with them, and stop them. Raises StoreError if they do not start."""
    pool = Pool(ctx, catalogues)
    hello = wire.Hello(
        run=ctx.run,
        actor=ctx.actor,
        command=ctx.command,
        reason=ctx.reason,
        ledger_id=ctx.ledger_id,
        settings=ctx.settings,
        options=options,
        catalogues=tuple(catalogues),
        limits=limits,
    )
    failed: LedgerError | None = None
    result: list[T] = []
    # The folder is 0700: nobody else can reach the socket in it.
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        path = Path(folder) / "run"
        async with (
            await anyio.create_unix_listener(path) as listener,
            anyio.create_task_group() as group,
        ):
            processes = [await _start(path) for _ in range(workers)]
            try:
                for _ in processes:
                    with anyio.fail_after(START_SECONDS):
                        stream = await listener.accept()
                    group.start_soon(pool.serve, stream, hello)
                result.append(await body(pool))
            except TimeoutError:
                failed = StoreError(
                    f"a worker process did not start within {START_SECONDS:.0f} s",
                    hint="Set workers = 0 to migrate in one process.",
                )
            except LedgerError as error:
                # Kept aside, since a task group would wrap it into an ExceptionGroup.
                failed = error
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    for process in processes:
                        await _stop(process)
    if failed is not None:
        raise failed
    return result[0]


async def _start(path: Path) -> Process:
    return await anyio.open_process(
        [sys.executable, "-m", "ledger.fleet.worker", str(path)],
        stdin=None,
        stdout=None,
        stderr=None,
    )


async def _stop(process: Process) -> None:
    """Its socket is closed: it rolls back what it has in hand and ends; past the limit it is killed."""
    with anyio.move_on_after(STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    await process.aclose()
