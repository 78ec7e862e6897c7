"""The tenants of a run that wait for its bulk path, and the fallback beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ledger.engines.base import Target
from ledger.fleet.fanout import FanOut
from ledger.fleet.ongoing import Ongoing
from ledger.runner.outcome import Outcome


class BulkQueue:
    """The `waiting` tenants, in order. `lanes` of the run's `parallel` places are the bulk path's.

    `fan` works on what falls back, with the places that are left.
    """

    def __init__(
        self,
        run: Ongoing,
        fan: FanOut[Target],
        waiting: Iterable[Target],
        *,
        parallel: int,
        lanes: int,
    ) -> None:
        self._run = run
        self._fan = fan
        self._waiting = deque(waiting)
        self._parallel = parallel
        self._beside = fan.parallel = max(1, parallel - lanes)
        self.falling: set[str] = set()
        # The next tenant is begun only when it is known that none before it has failed too many.
        self.ahead = run.budget is None
        self._most_falling = parallel if self.ahead else 1

    def take(self) -> Target | None:
        """The next tenant, or None while no other is to be begun."""
        if not self._waiting or self._run.stopped or len(self.falling) >= self._most_falling:
            return None
        if self._fan.busy > self._beside:
            return None
        self._fan.parallel = self._beside
        return self._waiting.popleft()

    def over(self) -> bool:
        """Whether no other will come."""
        return bool(self._run.stopped) or not self._waiting

    def idle(self) -> None:
        """No worker has anything to do: tenants that wait for a lock wait side by side."""
        self._fan.parallel = self._parallel
        self._fan.wake()

    def started(self, target: Target) -> None:
        """Work on the tenant begins."""
        self._run.progress.tenant_started(target.name)

    def finished(self, outcome: Outcome, seconds: float) -> None:
        """A tenant is at its end."""
        self._run.finished(outcome, seconds)

    def fall_back(self, target: Target) -> None:
        """The tenant is for the fallback; if it is claimed, the claim goes on."""
        self.falling.add(target.name)
        self._fan.add(target)

    def give_up(self) -> None:
        """The bulk path has ended: what still waits is for the fallback."""
        self.idle()
        for target in self._waiting:
            self._fan.add(target)
        self._waiting.clear()
