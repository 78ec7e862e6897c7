"""How many tenants of one server are worked on at once: found by what gets done.

A server is at its best with fewer connections than it takes: MariaDB on two cores with
two to four, and with eight it spends twice the CPU. So a run starts low and doubles
while more tenants get finished in a second. Invariant: never more than the limit that
was configured, and whoever waits for long makes room, so that slow tenants get all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

START: Final = 2
TENANTS_A_PLACE: Final = 4
"""So many tenants for each place are finished before a width is judged."""

GAIN: Final = 1.05
"""What twice the width must bring to be kept."""

STEADY: Final = 8
"""After so many judgements a width that was not worth it is tried again; then after twice as many."""

PATIENCE_SECONDS: Final = 2.0


class Width:
    """The places on one server. One event loop's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = anyio.CapacityLimiter(min(START, most))
        self._here = 0
        self._done = 0
        self._since = 0.0
        self._kept = self.now
        self._rate = 0.0
        self._pause = STEADY
        self._steady = 0

    @property
    def now(self) -> int:
        """How many at once."""
        return int(self._places.total_tokens)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One tenant's turn."""
        if self._here == 0:
            # The time in which there was nothing to do is no part of the measure.
            self._done, self._since = 0, anyio.current_time()
        self._here += 1
        try:
            await self._wait()
            try:
                yield
            finally:
                self._places.release()
                self._finished(anyio.current_time())
        finally:
            self._here -= 1

    async def _wait(self) -> None:
        while True:
            with anyio.move_on_after(PATIENCE_SECONDS):
                await self._places.acquire()
                return
            # Tenants that take so long do not tell in time what the server could bear.
            self._widen(min(self._most, self.now + 1))
            self._kept = self.now

    def _finished(self, now: float) -> None:
        self._done += 1
        if self._done < TENANTS_A_PLACE * self.now:
            return
        rate = self._done / max(now - self._since, 1e-6)
        if self.now <= self._kept:
            self._rate, self._steady = rate, self._steady - 1
            if self._steady <= 0:
                self._widen(min(self._most, self.now * 2))
        elif rate > self._rate * GAIN:
            self._kept, self._rate = self.now, rate
            self._widen(min(self._most, self.now * 2))
        else:
            self._widen(self._kept)
            self._steady, self._pause = self._pause, self._pause * 2
        self._done, self._since = 0, now

    def _widen(self, places: int) -> None:
        self._places.total_tokens = places
