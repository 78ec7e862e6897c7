"""A worker: runs the migrations that its run orders on tenants; the main program of a worker process.

No event loop: a few threads, each with one tenant at a time. The tenant is claimed by the
run, which alone writes the ledger; what is done here comes back as events, encoded.
Invariant: whatever is not done as ordered is rolled back and given back to the run, which
does it again on the fallback; when the run is gone, so is this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from ledger import events as ev
from ledger import failpoints
from ledger.engines import batch_for
from ledger.engines.batch import Batch, BatchTenant
from ledger.engines.work import Work
from ledger.events import encode_body
from ledger.fleet.bulk.messages import Frames, Order, Result, Setup, Task, frame
from ledger.runner.facts import backup_created, completed, elapsed_us, step_event, validated
from ledger.runner.holder import boottime_seconds
from ledger.schema import encode_schema

FIRST_LANES: Final = 4
BUSY: Final = 0.65
JUDGE_EVERY: Final = 16
"""A worker begins with few lanes, since more only get in each other's way; whenever it has used
less than this share of a core over so many orders, it was the disk that it waited for."""

FLUSH_RESULTS: Final = 16
FLUSH_SECONDS: Final = 0.03
"""Results gather until there are so many, the first is so old, or nothing else is to do."""

STOP_SECONDS: Final = 5.0
"""How long a tenant that is worked on may take to be rolled back once the run is gone."""


class Worker:
    """Its run's orders, and the threads that carry them out. `send` takes results; it may raise OSError."""

    def __init__(self, setup: Setup, send: Callable[[list[Result]], None]) -> None:
        self._setup = setup
        self._send = send
        self._tasks: dict[int, Task] = {}
        self._orders: SimpleQueue[Order] = SimpleQueue()
        self._batches: dict[str, Batch] = {}
        self._open: dict[str, BatchTenant] = {}
        self._sent: set[str] = set()
        self._results: list[Result] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._busy = 0
        self._lanes = 0
        self._judged = (time.monotonic(), time.process_time(), JUDGE_EVERY)
        self._add_lanes(FIRST_LANES)

    def take(self, message: Any) -> None:
        """A task to remember, or orders."""
        if isinstance(message, Task):
            # Said as the run itself would say it: a default is left out of an event by identity.
            ref = msgspec.structs.replace(message.ref, algorithm=sys.intern(message.ref.algorithm))
            self._tasks[message.number] = msgspec.structs.replace(message, ref=ref)
            engine = message.target.engine
            if engine not in self._batches and (batch := batch_for(engine)) is not None:
                self._batches[engine] = batch()
            return
        for order in message:
            self._orders.put(order)

    def stop(self) -> None:
        """The run is gone: interrupt what runs, and wait for it to be rolled back."""
        self._stop.set()
        give_up = time.monotonic() + STOP_SECONDS
        while self._busy and time.monotonic() < give_up:
            time.sleep(0.01)

    def _add_lanes(self, number: int) -> None:
        for _ in range(min(number, self._setup.lanes - self._lanes)):
            self._lanes += 1
            threading.Thread(target=self._lane, daemon=True).start()

    def _widen(self) -> None:
        """Under the lock, after each order: more lanes if this process waits while there is work."""
        then, used, left = self._judged
        if left > 1:
            self._judged = (then, used, left - 1)
            return
        now, used_now = time.monotonic(), time.process_time()
        self._judged = (now, used_now, JUDGE_EVERY)
        if used_now - used < BUSY * (now - then) and not self._orders.empty():
            self._add_lanes(2)

    def _lane(self) -> None:
        while True:
            order = self._orders.get()
            with self._lock:
                self._busy += 1
            began = time.perf_counter_ns()
            try:
                result = self._carry_out(order)
            finally:
                with self._lock:
                    self._busy -= 1
            took_us = elapsed_us(began)
            self._report(result._replace(took_us=took_us))

    def _report(self, result: Result) -> None:
        with self._lock:
            self._results.append(result)
            self._widen()
            now = time.monotonic()
            if (
                len(self._results) < FLUSH_RESULTS
                and now - self._flushed < FLUSH_SECONDS
                and not self._orders.empty()
            ):
                return
            self._flushed = now
            results, self._results = self._results, []
            try:
                self._send(results)
            except OSError:
                self._stop.set()  # The run is gone; the main thread sees it too.

    def _carry_out(self, order: Order) -> Result:
        """One order. Any error is the run's to meet again: here the order is only given back."""
        tenant = self._open.pop(order.tenant, None)
        try:
            if self._stop.is_set() or boottime_seconds() > order.lease_until:
                raise InterruptedError("the run's lease is over")
            task = self._tasks[order.task]
            batch = self._batches[task.target.engine]
            if tenant is None:
                target = msgspec.structs.replace(task.target, name=order.tenant, url=order.url)
                tenant = batch.open(target)
            seconds = min(self._setup.tenant_seconds, task.timeout_seconds)
            stop = _Limit(self._stop, time.monotonic() + seconds)
            work = self._back_up if order.backup else self._apply
            result = work(order, task, tenant, stop)
        except Exception as error:
            if tenant is not None:
                tenant.close()
            return Result(order.number, f"{type(error).__name__}: {error}")
        if order.more and not batch.spoils_connection([step.sql for step in task.section.steps]):
            self._open[order.tenant] = tenant
        else:
            tenant.close()
        return result

    def _apply(self, order: Order, task: Task, tenant: BatchTenant, stop: _Limit) -> Result:
        began = time.perf_counter_ns()
        work = Work(
            ref=task.ref,
            direction="up",
            section=task.section,
            checks=task.checks,
            epoch=order.epoch,
            ledger=self._setup.ledger_id,
            expected=task.expected,
            recorded=frozenset(),
        )
        results, done = tenant.apply(work, stop, known=frozenset(self._sent))
        of = len(task.section.steps)
        steps = [step_event(task.ref, "up", result, of=of) for result in results]
        took_us = elapsed_us(began)
        ends = (
            validated(task.ref, done),
            completed(self._setup.command, task.ref, done, duration_us=took_us),
        )
        fingerprint = done.mark.fingerprint or ""
        schema = ""
        if done.schema is not None:
            schema = encode_schema(done.schema).decode()
            self._sent.add(fingerprint)
        failpoints.reach("runner.before_record")
        applied = sum(isinstance(step, ev.StepApplied) for step in steps)
        return Result(
            order.number,
            "",
            _encoded((*steps, *ends)),
            fingerprint=fingerprint,
            schema=schema,
            steps=applied,
            skipped=len(steps) - applied,
        )

    def _back_up(self, order: Order, task: Task, tenant: BatchTenant, stop: _Limit) -> Result:
        """A backup of a tenant that stands where the ledger says, and no other."""
        began = time.perf_counter_ns()
        saved = tenant.backup(
            Path(order.backup),
            stop,
            epoch=order.epoch,
            ledger=self._setup.ledger_id,
            expected=task.expected,
        )
        created = backup_created(saved, task.applied, duration_us=elapsed_us(began))
        return Result(order.number, "", _encoded((created,)), backup=str(saved.path))


class _Limit:
    """Ends what takes longer than the run waits for it, or outlives the run."""

    def __init__(self, gone: threading.Event, give_up: float) -> None:
        self._gone = gone
        self._give_up = give_up

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._gone.is_set() or time.monotonic() > self._give_up


def _encoded(events: Sequence[ev.AnyEvent]) -> tuple[tuple[str, bytes], ...]:
    return tuple((str(event.__struct_config__.tag), encode_body(event)) for event in events)


def main() -> None:
    """Serve the run at the other end of standard input and output; the arguments name engines."""
    # A signal from the terminal reaches the whole group; the run decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for engine in sys.argv[1:]:
        batch_for(engine)  # Imported while the run prepares itself.
    sending = os.dup(1)
    os.dup2(2, 1)  # Whatever prints must not get between the messages.

    def send(results: list[Result]) -> None:
        view = memoryview(frame(results))
        while view:
            view = view[os.write(sending, view) :]

    frames = Frames()
    worker: Worker | None = None
    while data := os.read(0, 1 << 18):
        for message in frames.feed(data):
            if worker is None:
                worker = Worker(message, send)
            else:
                worker.take(message)
    if worker is not None:
        worker.stop()
    # What could not be stopped in time is rolled back when the tenant is next opened.
    os._exit(0)
