"""Counts of figures in a bounded room: how many, how much, the largest, and percentiles.

Invariant: few figures are kept as they are, and a percentile is then one that was really seen; of
many, each counts in a bucket that is at most 1/32 of it wide, so that a percentile is at most that
much too low. Sum, largest and number are exact.
"""

from __future__ import annotations

import math
from array import array
from typing import Final

from ledger.estimate import percentile

KEPT: Final = 1_000
"""Figures kept as they are."""
BITS: Final = 5
"""Leading bits, after the first, by which larger figures are told apart."""


class Spread:
    """Figures and whose they are: tenants by their number."""

    __slots__ = ("_buckets", "_kept", "_tenants", "count", "largest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.largest: tuple[int, str] = (0, "")
        self._kept = array("q")
        self._buckets: dict[int, int] = {}
        self._tenants = bytearray()

    def add(self, figure: int, tenant: str, number: int) -> None:
        """One more figure, of the tenant with this number."""
        self.largest = max(self.largest, (figure, tenant)) if self.count else (figure, tenant)
        self.count += 1
        self.total += figure
        self._kept.append(figure)
        if len(self._kept) >= KEPT:
            self._count()
        place = number >> 3
        if place >= len(self._tenants):
            self._tenants.extend(bytes(place + 1 - len(self._tenants)))
        self._tenants[place] |= 1 << (number & 7)

    @property
    def tenants(self) -> int:
        """How many tenants there were."""
        return int.from_bytes(self._tenants, "little").bit_count()

    def percentile(self, percent: float) -> int:
        """The nearest rank. Raises ValueError for no figures at all."""
        if not self._buckets:
            return percentile(sorted(self._kept), percent)
        self._count()
        rank = max(1, math.ceil(self.count * percent / 100))
        for figure, count in sorted(self._buckets.items()):
            rank -= count
            if rank <= 0:
                return figure
        raise AssertionError("there are more figures than were counted")

    def _count(self) -> None:
        for figure in self._kept:
            low = _rounded(figure)
            self._buckets[low] = self._buckets.get(low, 0) + 1
        del self._kept[:]


def _rounded(figure: int) -> int:
    """Towards nought."""
    size = abs(figure)
    shift = max(0, size.bit_length() - 1 - BITS)
    return (size >> shift << shift) * (1 if figure >= 0 else -1)
