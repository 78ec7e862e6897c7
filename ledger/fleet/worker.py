"""A worker process: migrates the SQLite tenants that its run hands it, `python -m ledger.fleet.worker`.

Invariant: the ledger is reached through the run that started it, never on its
own, so that all events pass the one writer; when the run is gone (its pipe is
closed), everything in hand is rolled back and the process ends.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from importlib.util import find_spec
from itertools import count
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, TaskGroup

from ledger.engines import engine_for
from ledger.engines.base import Engine
from ledger.errors import ConflictError, StoreUnavailableError
from ledger.events import Recorded
from ledger.fleet import wire
from ledger.projections import Fact, FleetState, fact
from ledger.runner.context import RunContext
from ledger.runner.migrate import migrate_tenant
from ledger.stores.base import Append, Filter, Head, Prepared, StoredProjection


class RemoteStore:
    """The ledger's store, asked through the run: see ledger.stores.base.Store for the promises."""

    def __init__(self, sender: wire.Sender, ledger_id: str) -> None:
        self.url = ""
        self.ledger_id = ledger_id
        self._sender = sender
        self._numbers = count(1)
        self._waiting: dict[int, tuple[anyio.Event, list[wire.Reply]]] = {}

    def take(self, reply: wire.Reply) -> None:
        """Give an answer to the caller that waits for it, if it still does."""
        waiting = self._waiting.pop(reply.number, None)
        if waiting is not None:
            event, box = waiting
            box.append(reply)
            event.set()

    async def _ask(self, method: str, *arguments: object) -> Any:
        number = next(self._numbers)
        event, box = anyio.Event(), list[wire.Reply]()
        self._waiting[number] = (event, box)
        self._sender.send(wire.Call(number=number, method=method, arguments=arguments))
        await event.wait()
        trouble = box[0].error
        if trouble is None:
            return box[0].value
        if trouble.conflict is not None:
            stream, expected, found = trouble.conflict
            raise ConflictError(stream, expected=expected, found=found)
        raise StoreUnavailableError(trouble.message, hint=trouble.hint)

    async def append(self, request: Append | Prepared) -> tuple[Recorded, ...]:
        """See Store.append."""
        recorded: tuple[Recorded, ...] = await self._ask("append", request)
        return recorded

    async def read(
        self, where: Filter = Filter(), *, batch: int = 5000
    ) -> AsyncGenerator[list[Recorded], None]:
        """See Store.read; all that matches comes at once."""
        rows: list[Recorded] = await self._ask("read", where)
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch]

    async def read_facts(
        self, where: Filter = Filter(), *, batch: int = 10_000
    ) -> AsyncGenerator[list[Fact], None]:
        """See Store.read_facts."""
        async for rows in self.read(where, batch=batch):
            yield [fact(row) for row in rows]

    async def head(self) -> Head:
        """See Store.head."""
        head: Head = await self._ask("head")
        return head

    async def script(self, sha256: str) -> str | None:
        """See Store.script."""
        text: str | None = await self._ask("script", sha256)
        return text

    async def now(self) -> datetime:
        """See Store.now."""
        now: datetime = await self._ask("now")
        return now

    async def load_projection(self, name: str) -> tuple[int, list[StoredProjection]]:
        """Projections are the run's; a worker keeps its tenants' states only."""
        return 0, []

    async def save_projection(
        self, name: str, *, base_seq: int, seq: int, changed: Sequence[StoredProjection]
    ) -> bool:
        """The run stores them."""
        return False

    async def aclose(self) -> None:
        """The run closes the store."""


class _Watcher:
    def __init__(self, sender: wire.Sender) -> None:
        self._sender = sender

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str = "") -> None:
        self._sender.send(
            wire.Said(method="step", arguments=(name, number, of, step_name, skipped))
        )

    def note(self, name: str, text: str) -> None:
        self._sender.send(wire.Said(method="note", arguments=(name, text)))


class _Quiet:
    """Steps of a large fleet are not shown; only notes are told."""

    def __init__(self, sender: wire.Sender) -> None:
        self._watcher = _Watcher(sender)

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str = "") -> None:
        """Nobody looks at the steps of tenant 4,711."""

    def note(self, name: str, text: str) -> None:
        self._watcher.note(name, text)


class _Worker:
    def __init__(self, hello: wire.Hello, sender: wire.Sender, engine: Engine) -> None:
        self.hello = hello
        self.sender = sender
        self.engine = engine
        self.store = RemoteStore(sender, hello.ledger_id)
        self.ctx = RunContext(
            store=self.store,
            ledger_id=hello.ledger_id,
            fleet=FleetState(),
            settings=hello.settings,
            command=hello.command,
            run=hello.run,
            actor=hello.actor,
            watcher=_Quiet(sender),
            reason=hello.reason,
        )
        self._scopes: dict[int, anyio.CancelScope] = {}

    async def job(self, job: wire.Job) -> None:
        fleet = self.ctx.fleet
        job.state.applied = fleet.intern(job.state.applied)
        fleet.tenants[job.target.name] = job.state
        with anyio.CancelScope() as scope:
            self._scopes[job.number] = scope
            outcome = None
            try:
                outcome = await migrate_tenant(
                    self.ctx,
                    self.engine,
                    job.target,
                    self.hello.catalogues[job.catalogue],
                    self.hello.options,
                    inspect=job.inspect,
                )
            finally:
                del self._scopes[job.number]
                fleet.tenants.pop(job.target.name, None)
                fleet.touched.clear()
                self.sender.send(wire.Finished(number=job.number, outcome=outcome))

    def cancel(self, number: int) -> None:
        scope = self._scopes.get(number)
        if scope is not None:
            scope.cancel()


async def _serve(receiving: ByteReceiveStream, sending: ByteSendStream) -> None:
    receiver, sender = wire.Receiver(receiving), wire.Sender(sending)
    hello = await receiver.receive()
    engine = engine_for("sqlite", **hello.limits)
    async with anyio.create_task_group() as group:
        group.start_soon(sender.run)
        worker = _Worker(hello, sender, engine)
        try:
            await _listen(receiver, worker, group)
        except tuple(wire.GONE):
            group.cancel_scope.cancel()
    with anyio.move_on_after(5, shield=True):
        await engine.aclose()


async def _listen(receiver: wire.Receiver, worker: _Worker, group: TaskGroup) -> None:
    while True:
        message = await receiver.receive()
        if isinstance(message, wire.Reply):
            worker.store.take(message)
        elif isinstance(message, wire.Job):
            group.start_soon(worker.job, message)
        elif isinstance(message, wire.Renewed):
            worker.ctx.lease_renewed(message.until)
        elif isinstance(message, wire.Cancel):
            worker.cancel(message.number)


def main() -> None:
    """Serve the run that listens on the socket whose path is the only argument."""
    path = sys.argv[1]
    anyio.run(_main, path, backend_options={"use_uvloop": find_spec("uvloop") is not None})


async def _main(path: str) -> None:
    # A signal from the terminal reaches the whole group; the run decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    async with await anyio.connect_unix(path) as stream:
        await _serve(stream, stream)


if __name__ == "__main__":
    main()
