"""A worker process: runs the migrations that its run orders on SQLite tenants, `python -m ledger.fleet.bulk.worker`.

No event loop: a few threads, each with one tenant at a time. The tenant is claimed by the
run, which alone writes the ledger; what is done here comes back as events, encoded.
Invariant: whatever is not done as ordered is rolled back and given back to the run, which
does it again in its own, more patient way; when the run is gone, so is this process.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from ledger import events as ev
from ledger import failpoints
from ledger.drivers.url import SqliteUrl, file_uri
from ledger.engines.base import MarkerEntry, Target, Work
from ledger.engines.entries import entry_id
from ledger.engines.sqlite.apply.transaction import Attempt
from ledger.engines.sqlite.backup.backup import write as write_backup
from ledger.engines.sqlite.connection import FULL
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.marker import admit, read_marker
from ledger.engines.sqlite.peek import Descriptors
from ledger.engines.sqlite.schema.introspect import SchemaCache
from ledger.engines.sqlite.steps import Stop, go_on, marks_connection, snapshot
from ledger.engines.sqlite.tenant_file import require_file
from ledger.events import encode_body
from ledger.fleet.bulk import messages as wire
from ledger.runner.holder import boottime_seconds
from ledger.runner.told import completed, step_event, validated
from ledger.schema import encode_schema

BUSY_TIMEOUT_MS: Final = 50
OPERATIONS: Final = 20_000
"""Operations of SQLite's virtual machine between two looks at the clock."""

FIRST_LANES: Final = 4
BUSY: Final = 0.65
LOOK_EVERY: Final = 16
"""A worker begins with few lanes, since more only get in each other's way; whenever it has used
less than this share of a core over so many orders, it was the disk that it waited for."""

FLUSH_REPORTS: Final = 16
FLUSH_SECONDS: Final = 0.03
"""Reports gather until there are so many, the first is so old, or nothing else is to do."""

STOP_SECONDS: Final = 5.0
"""How long a tenant in hand may take to be rolled back once the run is gone."""

Open = tuple[sqlite3.Connection, Inside]


class Worker:
    """Its run's orders, and the threads that carry them out."""

    def __init__(self, hello: wire.Hello, sending: int) -> None:
        self._hello = hello
        self._sending = sending
        self._tasks: dict[int, wire.Task] = {}
        self._orders: SimpleQueue[wire.Order] = SimpleQueue()
        self._kept: dict[str, Open] = {}
        self._cache = SchemaCache()
        self._descriptors = Descriptors()
        self._sent: set[str] = set()
        self._reports: list[wire.Told] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._busy = 0
        self._lanes = 0
        self._looked = (time.monotonic(), time.process_time(), LOOK_EVERY)
        self._add_lanes(FIRST_LANES)

    def take(self, message: Any) -> None:
        """A task to remember, or orders."""
        if isinstance(message, wire.Task):
            # Said as the run itself would say it: a default is left out of an event by identity.
            ref = msgspec.structs.replace(message.ref, algorithm=sys.intern(message.ref.algorithm))
            self._tasks[message.number] = msgspec.structs.replace(message, ref=ref)
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
        for _ in range(min(number, self._hello.lanes - self._lanes)):
            self._lanes += 1
            threading.Thread(target=self._lane, daemon=True).start()

    def _widen(self) -> None:
        """Under the lock, after each order: more lanes if this process waits while there is work."""
        then, used, left = self._looked
        if left > 1:
            self._looked = (then, used, left - 1)
            return
        now, used_now = time.monotonic(), time.process_time()
        self._looked = (now, used_now, LOOK_EVERY)
        if used_now - used < BUSY * (now - then) and not self._orders.empty():
            self._add_lanes(2)

    def _lane(self) -> None:
        while True:
            order = self._orders.get()
            with self._lock:
                self._busy += 1
            began = time.perf_counter_ns()
            try:
                told = self._carry_out(order)
            finally:
                with self._lock:
                    self._busy -= 1
            took_us = (time.perf_counter_ns() - began) // 1000
            self._report(told._replace(took_us=took_us))

    def _report(self, told: wire.Told) -> None:
        with self._lock:
            self._reports.append(told)
            self._widen()
            now = time.monotonic()
            if (
                len(self._reports) < FLUSH_REPORTS
                and now - self._flushed < FLUSH_SECONDS
                and not self._orders.empty()
            ):
                return
            self._flushed = now
            reports, self._reports = self._reports, []
            try:
                _write(self._sending, wire.frame(reports))
            except OSError:
                self._stop.set()  # The run is gone; the main thread sees it too.

    def _carry_out(self, order: wire.Order) -> wire.Told:
        """One order. Any error is the run's to meet again: here it is only given back."""
        opened = self._kept.pop(order.tenant, None)
        try:
            if self._stop.is_set() or boottime_seconds() > order.lease_until:
                raise InterruptedError("the run's lease is over")
            task = self._tasks[order.task]
            if opened is None:
                opened = self._open(order, task)
            patience = min(self._hello.patience_seconds, task.timeout_seconds)
            stop = _Patience(self._stop, time.monotonic() + patience)
            opened[0].set_progress_handler(stop.is_set, OPERATIONS)
            work = self._back_up if order.backup else self._apply
            told = work(order, task, opened, stop)
        except Exception as error:
            if opened is not None:
                opened[0].close()
            return wire.Told(order.number, f"{type(error).__name__}: {error}")
        if order.more and not _marked(task):
            self._kept[order.tenant] = opened
        else:
            opened[0].close()
        return told

    def _open(self, order: wire.Order, task: wire.Task) -> Open:
        target = Target(
            name=order.tenant,
            engine="sqlite",
            url=SqliteUrl(path=order.path),
            source="",
            session=task.session,
            application=task.application,
            create=task.create,
        )
        require_file(target, order.path)
        database = sqlite3.connect(
            file_uri(order.path, mode="rw"),
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=64,
            check_same_thread=False,
        )
        inside = Inside(
            target,
            order.path,
            cache=self._cache,
            descriptors=self._descriptors,
            synchronous=FULL,  # The run syncs the folder, for many tenants at once.
        )
        try:
            inside.prepare(database)
        except BaseException:
            database.close()
            raise
        return database, inside

    def _apply(self, order: wire.Order, task: wire.Task, opened: Open, stop: Stop) -> wire.Told:
        began = time.perf_counter_ns()
        database, inside = opened
        attempt = Attempt(
            inside,
            Work(
                ref=task.ref,
                direction="up",
                section=task.section,
                checks=task.checks,
                epoch=order.epoch,
                ledger=self._hello.ledger_id,
                expected=task.expected,
                recorded=frozenset(),
            ),
        )
        go_on(stop)
        attempt.go(database)
        done = attempt.sum_up(frozenset(self._sent))
        of = len(task.section.steps)
        steps = [step_event(task.ref, "up", one, of=of) for one in attempt.results]
        took_us = (time.perf_counter_ns() - began) // 1000
        ends = (
            validated(task.ref, done),
            completed(self._hello.command, task.ref, done, duration_us=took_us),
        )
        fingerprint = done.mark.fingerprint or ""
        schema = ""
        if done.schema is not None:
            schema = encode_schema(done.schema).decode()
            self._sent.add(fingerprint)
        failpoints.reach("runner.before_record")
        applied = sum(isinstance(step, ev.StepApplied) for step in steps)
        return wire.Told(
            order.number,
            "",
            _encoded((*steps, *ends)),
            fingerprint=fingerprint,
            schema=schema,
            steps=applied,
            skipped=len(steps) - applied,
        )

    def _back_up(self, order: wire.Order, task: wire.Task, opened: Open, stop: Stop) -> wire.Told:
        """A backup of a tenant that stands where the ledger says, and no other."""
        began = time.perf_counter_ns()
        database, inside = opened
        with snapshot(database):
            marker = read_marker(database, tenant=order.tenant)
        admit(marker, epoch=order.epoch, ledger=self._hello.ledger_id, tenant=order.tenant)
        if not _is_at(marker.entries, task.expected):
            raise ValueError("the tenant's marker says otherwise than the ledger")
        saved = write_backup(inside, database, Path(order.backup), stop)
        created = ev.BackupCreated(
            path=str(saved.path),
            bytes=saved.bytes,
            sha256=saved.sha256,
            format=saved.format,
            covers=saved.covers,
            fingerprint=saved.fingerprint,
            applied=task.applied,
            duration_us=(time.perf_counter_ns() - began) // 1000,
        )
        return wire.Told(order.number, "", _encoded((created,)), path=str(saved.path))


class _Patience:
    """Ends what takes longer than the run waits for it, or outlives the run."""

    def __init__(self, gone: threading.Event, give_up: float) -> None:
        self._gone = gone
        self._give_up = give_up

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._gone.is_set() or time.monotonic() > self._give_up


def _marked(task: wire.Task) -> bool:
    """Whether the next migration needs a connection of its own."""
    return any(marks_connection(step.sql) for step in task.section.steps)


def _is_at(entries: Sequence[MarkerEntry], expected: frozenset[str]) -> bool:
    """Whether exactly the expected migrations are applied, and none is in its middle."""
    return all(one.state == "applied" for one in entries) and expected == {
        entry_id(one.ref) for one in entries
    }


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _encoded(events: Sequence[ev.AnyEvent]) -> tuple[tuple[str, bytes], ...]:
    return tuple((str(one.__struct_config__.tag), encode_body(one)) for one in events)


def main() -> None:
    """Serve the run at the other end of standard input and output."""
    # A signal from the terminal reaches the whole group; the run decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sending = os.dup(1)
    os.dup2(2, 1)  # Whatever prints must not get between the messages.
    frames = wire.Frames()
    worker: Worker | None = None
    while data := os.read(0, 1 << 18):
        for message in frames.feed(data):
            if worker is None:
                worker = Worker(message, sending)
            else:
                worker.take(message)
    if worker is not None:
        worker.stop()
    # What could not be stopped in time is rolled back by whoever opens the tenant next.
    os._exit(0)


if __name__ == "__main__":
    main()
