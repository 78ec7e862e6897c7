"""One tenant on the bulk path (ledger.fleet.bulk.run), from its claim to its outcome."""

from __future__ import annotations

from ledger.engines.base import Target
from ledger.fleet.bulk.messages import Result
from ledger.fleet.bulk.plans import BulkPlan
from ledger.runner import backups
from ledger.runner.context import Begun
from ledger.runner.outcome import Outcome
from ledger.scripts.model import Migration


class BulkTenant:
    """How far a tenant has come on its plan.

    `result` is that of its last order until it is recorded. `saved_before` is how many migrations
    were done when its last backup was taken.
    """

    __slots__ = (
        "announced",
        "backup",
        "done",
        "epoch",
        "plan",
        "result",
        "saved_before",
        "skipped",
        "steps",
        "target",
        "worked_us",
    )

    def __init__(self, target: Target, plan: BulkPlan, epoch: int) -> None:
        self.target = target
        self.plan = plan
        self.epoch = epoch
        self.done: list[str] = []
        self.steps = 0
        self.skipped = 0
        self.backup: str | None = None
        self.saved_before = -1
        self.announced: backups.Announced | None = None
        self.result: Result | None = None
        self.worked_us = 0

    @property
    def migration(self) -> Migration:
        """The one that is being applied."""
        return self.plan.pending[len(self.done)]

    @property
    def following(self) -> Migration | None:
        """The one after it."""
        after = len(self.done) + 1
        return self.plan.pending[after] if after < len(self.plan.pending) else None

    @property
    def seconds(self) -> float:
        """How long workers have worked on it; what it waited for a free lane does not count."""
        return self.worked_us / 1e6

    def begun(self) -> Begun:
        """What the fallback goes on from."""
        return Begun(tuple(self.done), self.steps, self.skipped, self.backup, self.worked_us)

    def migrated(self, version: str | None) -> Outcome:
        """The outcome at the end of its plan."""
        return Outcome(
            tenant=self.target.name,
            result="migrated",
            migrations=tuple(self.done),
            steps=self.steps,
            skipped=self.skipped,
            version=version,
            duration_us=self.worked_us,
            backup=self.backup,
        )
