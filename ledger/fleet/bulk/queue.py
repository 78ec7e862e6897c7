"""What the quick way (ledger.fleet.bulk.run) asks of the run that it belongs to."""

from __future__ import annotations

from collections.abc import Callable

from ledger.engines.base import Target
from ledger.runner.outcome import Outcome


class Ways:
    """How the quick way gets tenants and gets rid of them.

    `take` gives the next tenant, or None while no other is to be begun; `over` says that
    there will be none; `idle` hears that no worker has anything in hand. `finished` takes
    an outcome, `patient` a tenant for the other way. Only with `ahead` are tenants claimed
    that no worker has a hand free for.
    """

    def __init__(
        self,
        *,
        take: Callable[[], Target | None],
        over: Callable[[], bool],
        begun: Callable[[Target], None],
        finished: Callable[[Target, Outcome, float], None],
        patient: Callable[[Target], None],
        idle: Callable[[], None],
        ahead: bool,
    ) -> None:
        self.take = take
        self.over = over
        self.begun = begun
        self.finished = finished
        self.patient = patient
        self.idle = idle
        self.ahead = ahead
