"""The `eventsourcing` package: append by aggregates of N events, and replay all of them, on SQLite."""

from __future__ import annotations

import os
import time
from pathlib import Path

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from bench.child import Orders, Work, serve

PAYLOAD = "x" * 200


class Tenant(Aggregate):
    """One stream: a count folded from its events."""

    def __init__(self) -> None:
        self.steps = 0

    @event("StepApplied")
    def apply_step(self, statement: str, duration_us: int) -> None:
        """One event of about 320 bytes."""
        self.steps += 1


def prepare(orders: Orders) -> Work:
    """`times` receives the seconds of appending and of replaying, one a line."""
    os.environ["PERSISTENCE_MODULE"] = "eventsourcing.sqlite"
    os.environ["SQLITE_DBNAME"] = orders["path"]
    application: Application = Application()
    batch: int = orders["batch"]
    streams: int = max(1, orders["events"] // batch)

    def work() -> None:
        began = time.perf_counter()
        identifiers = []
        for _ in range(streams):
            tenant = Tenant()
            for number in range(batch - 1):
                tenant.apply_step(PAYLOAD, number)
            application.save(tenant)
            identifiers.append(tenant.id)
        appended = time.perf_counter()
        for identifier in identifiers:
            application.repository.get(identifier)
        replayed = time.perf_counter()
        times = f"{appended - began} {replayed - appended} {streams * batch}"
        Path(orders["times"]).write_text(times)

    return work


if __name__ == "__main__":
    serve(prepare)
