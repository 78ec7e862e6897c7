"""What an engine offers for bulk work: one claimed tenant of a batch, in a thread that knows no event loop.

A worker, often another process, opens the tenants of a batch by this. Invariant: what is not done as
asked is rolled back, and nobody waits for another connection's lock longer than some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ledger.engines.base import Backup, Target
from ledger.engines.work import Done, StepResult, Work


class Stop(Protocol):
    """Says when to stop: an Event, or an object that reads a clock."""

    def is_set(self) -> bool:
        """Whether the caller no longer waits."""
        ...


class BatchTenant(Protocol):
    """An open tenant. Its methods raise whatever goes wrong, also what the database says."""

    def apply(
        self, work: Work, stop: Stop, *, known: frozenset[str]
    ) -> tuple[Sequence[StepResult], Done]:
        """As Session.apply; what it has committed is durable only after `Batch.make_durable`."""
        ...

    def backup(
        self, destination: Path, stop: Stop, *, epoch: int, ledger: str, expected: frozenset[str]
    ) -> Backup:
        """As Session.backup, of a tenant in which exactly the `expected` migrations are applied."""
        ...

    def close(self) -> None:
        """Close the connection, which rolls back what is open."""
        ...


class Batch(Protocol):
    """What the tenants of one worker share."""

    def open(self, target: Target) -> BatchTenant:
        """Open a tenant. Raises whatever goes wrong."""
        ...

    @staticmethod
    def spoils_connection(work: Sequence[str]) -> bool:
        """Whether these statements leave a connection that the next migration must not use."""
        ...

    @staticmethod
    def make_durable(targets: Iterable[Target]) -> None:
        """Make durable what `apply` has committed to these tenants. Raises OSError."""
        ...
