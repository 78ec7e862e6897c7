"""How long a migration will take on a tenant, from how long it took on others.

Invariant: a figure says where it comes from; where there is none, none is made up.
A larger tenant is never estimated at less than a smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeVar

import msgspec

LEAST_SAMPLES: Final = 5
"""How many tenants must have been measured before their sizes count."""

LEAST_CORRELATION: Final = 0.7
"""Pearson's, between size and duration; below it the size does not explain the time."""

N = TypeVar("N", int, float)
Source = Literal["scaled", "measured", "manifest", "none"]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The migration on another tenant: how long, and how large that tenant was before (None: not known)."""

    duration_us: int
    bytes: int | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds for one migration on one tenant, and the range in which eight of ten fell.

    `source`: `scaled` — from `samples` other tenants, by the tenant's size; `measured` —
    from them as they were; `manifest` — version.json's own figure; `none` — no figure.
    """

    migration: str
    source: Source
    seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    samples: int = 0


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants that share a limit (a server's connections): `width` of them at once."""

    width: int
    estimates: tuple[tuple[Estimate, ...], ...]


class FleetEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds for all that is pending with `parallel` tenants at once. Without figures they are None.

    `unknown` counts the tenants of which at least one migration has no figure.
    """

    parallel: int
    tenants: int
    unknown: int
    seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None


def estimate(
    migration: str,
    samples: Iterable[Sample],
    *,
    bytes_now: int | None = None,
    manifest_seconds: float | None = None,
) -> Estimate:
    """The figure for a tenant of `bytes_now`: scaled, else measured, else the manifest's, else none."""
    taken = list(samples)
    if not taken:
        return Estimate(
            migration=migration,
            source="none" if manifest_seconds is None else "manifest",
            seconds=manifest_seconds,
            low_seconds=manifest_seconds,
            high_seconds=manifest_seconds,
        )
    durations = sorted(sample.duration_us / 1e6 for sample in taken)
    sized = [(sample.bytes, sample.duration_us / 1e6) for sample in taken if sample.bytes]
    if bytes_now and size_explains(sized):
        rates = sorted(seconds / size for size, seconds in sized)
        # What every tenant costs, however small: the least that was ever seen.
        floor = durations[0]
        low, middle, high = (
            max(floor, percentile(rates, part) * bytes_now) for part in (10, 50, 90)
        )
        source: Source = "scaled"
    else:
        low, middle, high = (percentile(durations, part) for part in (10, 50, 90))
        source = "measured"
    return Estimate(
        migration=migration,
        source=source,
        seconds=middle,
        low_seconds=low,
        high_seconds=high,
        samples=len(taken),
    )


def size_explains(sized: Sequence[tuple[int, float]]) -> bool:
    """Whether duration goes with size, over enough tenants of different sizes."""
    if len(sized) < LEAST_SAMPLES or len({size for size, _ in sized}) < 2:
        return False
    count = len(sized)
    mean_size = sum(size for size, _ in sized) / count
    mean_time = sum(time for _, time in sized) / count
    both = sum((size - mean_size) * (time - mean_time) for size, time in sized)
    sizes = sum((size - mean_size) ** 2 for size, _ in sized)
    times = sum((time - mean_time) ** 2 for _, time in sized)
    spread = math.sqrt(sizes) * math.sqrt(times)
    return spread > 0 and both / spread >= LEAST_CORRELATION


def together(lanes: Sequence[Lane], *, parallel: int) -> FleetEstimate:
    """All tenants of all lanes: no shorter than the longest one, nor than its lane, nor than all of it."""
    tenants = [estimates for lane in lanes for estimates in lane.estimates]
    unknown = sum(any(each.seconds is None for each in tenant) for tenant in tenants)
    if not tenants or all(each.seconds is None for tenant in tenants for each in tenant):
        return FleetEstimate(parallel=parallel, tenants=len(tenants), unknown=unknown)
    middle, low, high = (
        _makespan(lanes, parallel, part) for part in ("seconds", "low_seconds", "high_seconds")
    )
    return FleetEstimate(
        parallel=parallel,
        tenants=len(tenants),
        unknown=unknown,
        seconds=middle,
        low_seconds=low,
        high_seconds=high,
    )


def _makespan(lanes: Sequence[Lane], parallel: int, part: str) -> float:
    longest, total, narrowest = 0.0, 0.0, 0.0
    for lane in lanes:
        each = [
            sum(getattr(estimate, part) or 0.0 for estimate in tenant) for tenant in lane.estimates
        ]
        longest = max(longest, *each) if each else longest
        total += sum(each)
        narrowest = max(narrowest, sum(each) / max(1, min(lane.width, parallel)))
    return max(longest, narrowest, total / max(1, parallel))


def percentile(ordered: Sequence[N], percent: float) -> N:
    """The nearest rank, which is always a value that was really seen.

    It is the smallest value that at least `percent` of the values do not exceed; `ordered` is ascending.

    Raises ValueError for no values at all.
    """
    if not ordered:
        raise ValueError("no values")
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[min(len(ordered), max(1, rank)) - 1]
