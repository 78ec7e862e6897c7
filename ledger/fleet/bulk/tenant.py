"""One tenant on the quick way (ledger.fleet.bulk.run), from its claim to its outcome."""

from __future__ import annotations

from ledger.engines.base import Target
from ledger.fleet.bulk import messages as wire
from ledger.fleet.bulk.plans import Course
from ledger.fleet.bulk.processes import Worker
from ledger.runner import backups
from ledger.scripts.model import Migration


class Turn:
    """One tenant in hand: where it stands on its course.

    `saved_before` is how many migrations were done when its last backup was taken.
    """

    __slots__ = (
        "announced",
        "backup",
        "course",
        "done",
        "epoch",
        "saved_before",
        "skipped",
        "steps",
        "target",
        "told",
        "worked_us",
        "worker",
    )

    def __init__(self, target: Target, course: Course, worker: Worker[Turn], epoch: int) -> None:
        self.target = target
        self.course = course
        self.worker = worker
        self.epoch = epoch
        self.done: list[str] = []
        self.steps = 0
        self.skipped = 0
        self.backup: str | None = None
        self.saved_before = -1
        self.announced: backups.Announced | None = None
        self.told: wire.Told | None = None
        self.worked_us = 0

    @property
    def migration(self) -> Migration:
        """The one that is being applied."""
        return self.course.pending[len(self.done)]

    @property
    def following(self) -> Migration | None:
        """The one after it."""
        after = len(self.done) + 1
        return self.course.pending[after] if after < len(self.course.pending) else None

    @property
    def seconds(self) -> float:
        """How long workers have worked on it; what it waited for a free lane does not count."""
        return self.worked_us / 1e6
