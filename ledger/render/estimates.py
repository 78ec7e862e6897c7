"""How long something takes, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ledger.estimate import Estimate, FleetEstimate
from ledger.render.text import count_text, seconds_text

_FROM: Final = {
    "scaled": "from {samples}, by the tenant's size",
    "measured": "from {samples}",
    "manifest": "version.json says",
    "none": "no figure",
}


def estimate_text(found: Sequence[Estimate]) -> str:
    """One migration on a group of tenants: the range over all of them, and where it comes from."""
    first = found[0]
    samples = count_text(max(estimate.samples for estimate in found), "earlier run")
    words = _FROM[first.source].format(samples=samples)
    if first.seconds is None:
        return words
    low = min(estimate.low_seconds or 0.0 for estimate in found)
    high = max(estimate.high_seconds or 0.0 for estimate in found)
    if first.source == "manifest":
        return f"{words} about {seconds_text(first.seconds)}"
    return f"{_range(low, high)}, {words}"


def _range(low: float, high: float) -> str:
    low_text, high_text = seconds_text(low), seconds_text(high)
    return low_text if low_text == high_text else f"{low_text} to {high_text}"


def fleet_estimate_lines(found: FleetEstimate) -> Iterator[str]:
    """What all of it takes together."""
    if not found.tenants:
        return
    if found.seconds is None:
        yield "Estimate: no figure; nothing of it was measured on another tenant."
        return
    spread = _range(found.low_seconds or 0.0, found.high_seconds or 0.0)
    least = "at least " if found.unknown else "about "
    missing = (
        f"; {count_text(found.unknown, 'tenant')} without a figure left out"
        if found.unknown
        else ""
    )
    yield (
        f"Estimate: {least}{seconds_text(found.seconds)} ({spread}) for"
        f" {count_text(found.tenants, 'tenant')}, {found.parallel} at once{missing}."
    )
