"""How many tenants of one server are worked on at once: found by what gets done.

A server is at its best with fewer connections than it takes: MariaDB on two cores with
two to four, and with eight it spends twice the CPU. So a run starts low and doubles
while more tenants get finished in a second. Invariant: never more than the limit that
was configured, and tenants that wait for long get more places, so that slow ones get all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from anyio.lowlevel import RunVar

from ledger.engines.base import Target

START: Final = 2
TENANTS_A_PLACE: Final = 4
"""How many tenants for each place are finished before a width is judged."""

GAIN: Final = 1.05
"""What twice the width must bring to be kept."""

STEADY: Final = 8
"""After so many judgements a width that was not worth it is tried again; then after twice as many."""

PATIENCE_SECONDS: Final = 2.0
"""After so long without a free place a server gets more of them."""


class Width:
    """The places on one server. One event loop's; `listeners` are called when one becomes free."""

    def __init__(self, server: str, most: int) -> None:
        self.server = server
        self.listeners: set[Callable[[], None]] = set()
        self.now = min(START, most)
        self._most = most
        self._busy = 0
        self._done = 0
        self._since = 0.0
        self._idle_since = 0.0
        self._kept = self.now
        self._rate = 0.0
        self._pause = STEADY
        self._steady = 0

    @property
    def free(self) -> bool:
        """Whether there is a place for one more."""
        return self._busy < self.now

    def enter(self, now: float) -> None:
        """Take a place."""
        if self._busy == 0:
            # The time in which there was nothing to do is no part of the measure.
            self._since += now - self._idle_since
        self._busy += 1

    def leave(self, now: float) -> None:
        """Give a place back: a tenant is finished."""
        self._busy -= 1
        self._idle_since = now
        self._judge(now)
        for listener in self.listeners:
            listener()

    def widen(self) -> None:
        """More places, since tenants that take so long do not show in time what the server could bear."""
        self.now = self._kept = min(self._most, self.now * 2)

    def _judge(self, now: float) -> None:
        self._done += 1
        if self._done < TENANTS_A_PLACE * self.now:
            return
        rate = self._done / max(now - self._since, 1e-6)
        if self.now <= self._kept:
            self._rate, self._steady = rate, self._steady - 1
            if self._steady <= 0:
                self.now = min(self._most, self.now * 2)
        elif rate > self._rate * GAIN:
            self._kept, self._rate = self.now, rate
            self.now = min(self._most, self.now * 2)
        else:
            self.now = self._kept
            self._steady, self._pause = self._pause, self._pause * 2
        self._done, self._since = 0, now


_widths: RunVar[dict[tuple[str, int], Width]] = RunVar("server_widths")


def width_of(target: Target) -> Width | None:
    """One for each server and limit, over all calls of this event loop; None for a file."""
    if not target.server:
        return None
    try:
        widths = _widths.get()
    except LookupError:
        widths = {}
        _widths.set(widths)
    key = (target.server, target.max_connections)
    if key not in widths:
        widths[key] = Width(*key)
    return widths[key]
