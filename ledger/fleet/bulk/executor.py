"""Where batches are worked on: what the bulk path (ledger.fleet.bulk.run) asks of an executor.

Worker processes are one (ledger.fleet.bulk.processes). Invariant: every order has one result,
at the latest when its worker is lost; and after a result no worker touches the order's tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.fleet.bulk.messages import Order, Result, Setup, Task


class Executor(Protocol):
    """Carries out orders elsewhere. It may run an order late, but never after its `lease_until`."""

    @property
    def workers(self) -> int:
        """How many workers take orders; 0 once all are lost."""
        ...

    def set_up(self, setup: Setup) -> None:
        """Before the first order; `setup.lanes` are those of all workers together."""
        ...

    async def submit(self, orders: Sequence[tuple[Task, Order]]) -> None:
        """Submit a batch. Those of one tenant come one after the other, each after the last one's result."""
        ...

    def results(self) -> list[Result]:
        """Those that have come back since the last call."""
        ...

    async def wait(self) -> None:
        """Until a result is there, or `wake` is called; at most a second."""
        ...

    def wake(self) -> None:
        """End a `wait`."""
        ...

    async def cancel(self) -> None:
        """End all work at once, rolled back; returns when no worker touches a tenant any more."""
        ...
