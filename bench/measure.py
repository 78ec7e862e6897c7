"""Sides that take turns: medians, and the ratio pair by pair with its spread.

Two sides measured one after the other see different machines (a cache that
warmed, a neighbour that woke). So every round runs every side once, and a ratio
is taken within a round only.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bench.children import Reading

Side = Callable[[], Reading]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """The median of the rounds' ratios, with the lowest and the highest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


Readings = dict[str, list[Reading]]


def alternate(
    sides: Mapping[str, Side],
    rounds: int,
    *,
    before: Callable[[str], None] = lambda name: None,
    after: Callable[[str], None] = lambda name: None,
) -> Readings:
    """Run every side once a round, in an order that turns with the rounds.

    `before` and `after` get the side's name and are not timed.
    """
    readings: Readings = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            before(name)
            readings[name].append(sides[name]())
            after(name)
    return readings


def median(readings: Sequence[Reading]) -> float:
    """Median seconds."""
    return statistics.median(one.seconds for one in readings)


def ratio(ours: Sequence[Reading], theirs: Sequence[Reading]) -> Ratio:
    """Ours over theirs, round by round."""
    return ratio_of([a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)])


def ratio_of(values: Sequence[float]) -> Ratio:
    """The median and the spread of ratios already taken."""
    return Ratio(median=statistics.median(values), low=min(values), high=max(values))


def per_tenant(reading: Reading, tenants: int) -> Reading:
    """The same reading, its seconds divided by the tenants."""
    return msgspec.structs.replace(reading, seconds=reading.seconds / tenants)


def spread(readings: Sequence[Reading], scale: float) -> str:
    """`median (low-high)` of seconds times `scale`."""
    values = [one.seconds * scale for one in readings]
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
