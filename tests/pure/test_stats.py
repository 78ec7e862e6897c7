"""Estimates and figures, as functions of samples: properties that hold for all of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.estimate import Estimate, Lane, Sample, estimate, percentile, together
from ledger.stats.spread import KEPT, Spread

SAMPLES = st.lists(
    st.builds(
        Sample,
        duration_us=st.integers(0, 10**10),
        bytes=st.none() | st.integers(0, 10**13),
    ),
    max_size=30,
)
SECONDS = st.floats(0, 10**6, allow_nan=False)


def bounds(found: Estimate) -> tuple[float, float, float]:
    """Low, middle and high; there must be figures."""
    assert found.low_seconds is not None and found.seconds is not None
    assert found.high_seconds is not None
    return found.low_seconds, found.seconds, found.high_seconds


@given(SAMPLES, st.none() | st.integers(0, 10**13), st.none() | SECONDS)
def test_a_figure_is_a_range_and_says_where_it_is_from(
    samples: list[Sample], size: int | None, manifest: float | None
) -> None:
    """0 ≤ low ≤ middle ≤ high; measured beats the manifest; without either there is no figure."""
    found = estimate("app/1", samples, bytes_now=size, manifest_seconds=manifest)
    assert found.samples == len(samples)
    if samples:
        assert found.source in ("scaled", "measured")
    else:
        assert found.source == ("none" if manifest is None else "manifest")
    if found.source == "none":
        assert found.seconds is found.low_seconds is found.high_seconds is None
    else:
        low, middle, high = bounds(found)
        assert 0 <= low <= middle <= high
        if found.source == "manifest":
            assert low == high == manifest
        if found.source == "measured":
            durations = [one.duration_us / 1e6 for one in samples]
            assert min(durations) <= low and high <= max(durations)


@given(SAMPLES, st.integers(1, 10**13), st.randoms(use_true_random=False))
def test_the_order_of_samples_says_nothing(
    samples: list[Sample], size: int, order: random.Random
) -> None:
    """Shuffled samples give the same figure."""
    first = estimate("app/1", samples, bytes_now=size)
    shuffled = samples.copy()
    order.shuffle(shuffled)
    second = estimate("app/1", shuffled, bytes_now=size)
    # Sums of floats in another order may differ in the last bit, and so tip a correlation of 0.7.
    if first.source == second.source:
        assert first == second


@given(SAMPLES, st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_larger_tenant_is_never_faster(samples: list[Sample], one: int, other: int) -> None:
    """Between two sizes that are known, the estimate does not fall."""
    small, large = sorted((one, other))
    if samples and small:
        first, second = (estimate("app/1", samples, bytes_now=size) for size in (small, large))
        assert all(a <= b for a, b in zip(bounds(first), bounds(second), strict=True))


@given(st.integers(5, 30), st.integers(1, 10**6), st.integers(1, 1000))
def test_size_counts_where_it_explains(count: int, base: int, rate_us: int) -> None:
    """Durations that grow with the size: a tenant ten times the largest is ten times as slow."""
    sizes = [base * (number + 1) for number in range(count)]
    samples = [Sample(duration_us=size * rate_us, bytes=size) for size in sizes]
    found = estimate("app/1", samples, bytes_now=sizes[-1] * 10)
    assert found.source == "scaled"
    assert found.seconds == pytest.approx(sizes[-1] * 10 * rate_us / 1e6)


@given(
    st.lists(st.integers(80, 120), min_size=6, max_size=30),
    st.integers(1, 10**6),
    st.integers(1, 10**12),
)
def test_scaled_figures_have_a_range_and_a_floor(
    rates_percent: list[int], base: int, size: int
) -> None:
    """Rates that differ by a fifth: low ≤ middle ≤ high, and no tenant is faster than the fastest seen."""
    samples = [
        Sample(duration_us=base * (number + 1) * 10 * percent, bytes=base * (number + 1))
        for number, percent in enumerate(rates_percent)
    ]
    found = estimate("app/1", samples, bytes_now=size)
    assert found.source == "scaled"
    low, middle, high = bounds(found)
    assert min(one.duration_us for one in samples) / 1e6 <= low <= middle <= high
    assert high <= max(size * 1200 / 1e6, low) * (1 + 1e-9)
    assert middle >= size * 800 / 1e6 * (1 - 1e-9)


def test_four_tenants_or_equal_sizes_are_not_enough() -> None:
    """Fewer than five, or all alike in size, or times that have nothing to do with it: the median."""
    few = [Sample(duration_us=one * 1000, bytes=one) for one in (1, 2, 3, 4)]
    alike = [Sample(duration_us=one * 1000, bytes=7) for one in range(1, 8)]
    wild = [
        Sample(duration_us=took, bytes=size)
        for took, size in zip((9, 1, 8, 2, 7, 3), (1, 2, 3, 4, 5, 6), strict=True)
    ]
    for samples in (few, alike, wild):
        assert estimate("app/1", samples, bytes_now=100).source == "measured"
    assert estimate("app/1", few, bytes_now=100).seconds == 0.002


@given(st.lists(st.integers(), min_size=1), st.floats(0, 100))
def test_a_percentile_was_really_seen(values: list[int], percent: float) -> None:
    """It is one of the values, and at least so many do not exceed it."""
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(one <= found for one in values) >= len(values) * percent / 100


def test_no_values_have_no_percentile() -> None:
    """Refused, rather than nought."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def known(seconds: float) -> tuple[Estimate, ...]:
    """One tenant with one migration of which this is known."""
    one = Estimate(
        migration="app/1",
        source="measured",
        seconds=seconds,
        low_seconds=seconds / 2,
        high_seconds=seconds * 2,
        samples=1,
    )
    return (one,)


@given(st.lists(st.lists(SECONDS, max_size=10), max_size=4), st.integers(1, 20), st.integers(1, 9))
def test_a_fleet_takes_as_long_as_its_narrowest_place(
    lanes: Sequence[Sequence[float]], parallel: int, width: int
) -> None:
    """Never less than the longest tenant nor than the sum by the width; never more than one by one."""
    made = [Lane(width=width, estimates=tuple(known(one) for one in lane)) for lane in lanes]
    every = [one for lane in lanes for one in lane]
    found = together(made, parallel=parallel)
    assert found.tenants == len(every) and found.unknown == 0
    if not every:
        assert found.seconds is None
        return
    assert found.seconds is not None
    assert found.seconds >= max(every)
    assert found.seconds == pytest.approx(
        max(
            max(every),
            sum(every) / parallel,
            *(sum(lane) / min(width, parallel) for lane in lanes),
        )
    )
    assert found.seconds <= sum(every) * (1 + 1e-9) + 1e-9
    assert found.low_seconds == pytest.approx(found.seconds / 2)
    assert found.high_seconds == pytest.approx(found.seconds * 2)


def test_what_has_no_figure_is_counted_and_not_nought() -> None:
    """Tenants without a figure are named as such; if none has one, the fleet has none."""
    nothing = (Estimate(migration="app/1", source="none"),)
    found = together([Lane(width=1, estimates=(nothing, known(2.0)))], parallel=4)
    assert (found.tenants, found.unknown, found.seconds) == (2, 1, 2.0)
    found = together([Lane(width=1, estimates=(nothing,))], parallel=4)
    assert (found.tenants, found.unknown, found.seconds) == (1, 1, None)


@given(
    st.lists(st.integers(-(10**6), 10**10), min_size=1, max_size=300),
    st.integers(1, 9),
    st.sampled_from([1, 50, 95, 100]),
)
def test_many_figures_are_counted_in_little_room(
    figures: list[int], times: int, percent: float
) -> None:
    """Sum, number, largest and tenants stay exact; a percentile is at most 1/32 nearer to nought."""
    spread = Spread()
    taken = [(figure + again, f"t{again}") for figure in figures for again in range(times)]
    for figure, tenant in taken:
        spread.add(figure, tenant, int(tenant[1:]))
    assert spread.largest == max(taken)
    assert (spread.count, spread.total) == (len(taken), sum(figure for figure, _ in taken))
    assert spread.tenants == times
    exact = percentile(sorted(figure for figure, _ in taken), percent)
    found = spread.percentile(percent)
    assert found == exact if len(taken) < KEPT else abs(exact) * 31 / 32 <= abs(found) <= abs(exact)
