"""What recorded events say about sizes and durations. Pure: events in, figures out."""

from ledger.stats.estimate import Estimate, FleetEstimate, Lane, Sample, estimate, together
from ledger.stats.fleet import Gathering, Growth, Size, SlowStep, Stats
from ledger.stats.percentile import percentile

__all__ = [
    "Estimate",
    "FleetEstimate",
    "Gathering",
    "Growth",
    "Lane",
    "Sample",
    "Size",
    "SlowStep",
    "Stats",
    "estimate",
    "percentile",
    "together",
]
