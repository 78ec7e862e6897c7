"""One way to say "most": the nearest rank, which is always a value that was really seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

N = TypeVar("N", int, float)


def percentile(ordered: Sequence[N], percent: float) -> N:
    """The smallest value that at least `percent` of the values do not exceed; `ordered` is ascending.

    Raises ValueError for no values at all.
    """
    if not ordered:
        raise ValueError("no values")
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[min(len(ordered), max(1, rank)) - 1]
