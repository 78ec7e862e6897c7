"""Scale: time per tenant and peak memory as the fleet grows tenfold twice, ours, raw and peers.

    python -m bench.scale [--tenants LARGEST] [--plot FILE.svg]

`--tenants` is the largest fleet; the others are a tenth and a hundredth of it.
`--plot` needs matplotlib (the extra `bench`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.children import Reading
from bench.fleet import fleet_of, work_folder
from bench.known_peers import Peer, peers_for
from bench.measure import alternate, median, per_tenant
from bench.migrate import OURS, RAW, Ring
from bench.options import Options
from bench.report import Report, Table, main

PEERS_UP_TO = 1000
"""Peers are measured up to here: what they take per tenant is flat, and some take half a second."""

SLOW_UP_TO = 20


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One side at one size. `peak_mib` is 0 where it was not watched."""

    side: str
    tenants: int
    ms: float
    peak_mib: float = 0.0


def measure(count: int, options: Options, peers: list[Peer]) -> list[Point]:
    """Ours and raw in alternation, then each peer once, two at once."""
    points = []
    rounds = 1 if count > 3000 or options.size == "quick" else min(3, options.rounds())
    with work_folder(options) as folder, fleet_of("sqlite", count, folder, options) as fleet:
        ring = Ring("sqlite", fleet, folder, options)
        raw = ring.raw()

        def before(_: str) -> None:
            ring.product.forget()
            fleet.fresh(count)

        def ours() -> Reading:
            reading = ring.product.migrate(extra=ring.extra, watch_memory=True)
            return per_tenant(reading, count)

        def raw_loop() -> Reading:
            return per_tenant(raw.go(fleet.targets), count)

        sides = {OURS: ours, RAW: raw_loop}
        readings = alternate(sides, rounds, before=before, after=lambda _: fleet.check(count))
        for name, one in readings.items():
            peak = max(reading.peak_mib for reading in one)
            points.append(Point(side=name, tenants=count, ms=median(one) * 1000, peak_mib=peak))
        for peer in peers:
            share = min(count, SLOW_UP_TO if peer.name == "sqitch" else PEERS_UP_TO)
            contender = ring.peer(peer, 2)
            targets = fleet.fresh(share)
            took = per_tenant(contender.go(targets), share)
            fleet.check(share)
            points.append(
                Point(side=f"{peer.name}, two at once", tenants=share, ms=took.seconds * 1000)
            )
    return points


def run(options: Options) -> Report:
    """Three sizes."""
    largest = options.pick(quick=30, modest=1000, full=10_000)
    peers, missing = peers_for("sqlite") if options.peers else ([], [])
    points: list[Point] = []
    for count in (largest // 100, largest // 10, largest):
        if count:
            points += measure(count, options, peers if count <= PEERS_UP_TO else [])
    if options.plot is not None:
        plot(points, options.plot)
    flat = [point.ms for point in points if point.side == OURS]
    ours = [point for point in points if point.side == OURS]
    added = ours[-1].tenants - ours[0].tenants
    grown = (ours[-1].peak_mib - ours[0].peak_mib) * 1024 / max(1, added)
    return Report(
        script="scale",
        tables=(
            Table(
                title="Scale, P on SQLite",
                columns=("side", "tenants", "ms/tenant", "peak MiB"),
                rows=tuple(
                    (
                        one.side,
                        str(one.tenants),
                        f"{one.ms:.2f}",
                        f"{one.peak_mib:.0f}" if one.peak_mib else "",
                    )
                    for one in points
                ),
                notes=(
                    f"ours: {flat[-1] / flat[0]:.2f} x the time per tenant from the smallest to the"
                    f" largest fleet (start-up is in it), +{grown:.2f} KiB a tenant",
                    *missing,
                    *((f"plotted in {options.plot.name}",) if options.plot else ()),
                ),
            ),
        ),
    )


def plot(points: list[Point], path: Path) -> None:
    """Time per tenant over the fleet's size, one line a side; the kind of file is by its suffix."""
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit(
            "--plot needs matplotlib: pip install 'migration-ledger[bench]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5))
    drawing: Any = axes
    sides = dict.fromkeys(point.side for point in points)
    for side in sides:
        line = [point for point in points if point.side == side]
        drawing.plot(
            [point.tenants for point in line],
            [point.ms for point in line],
            marker="o",
            label=side,
            linewidth=3 if side == OURS else 1,
        )
    drawing.set_xscale("log")
    drawing.set_yscale("log")
    drawing.set_xlabel("tenants")
    drawing.set_ylabel("ms per tenant")
    drawing.set_title("P on SQLite: 15 statements a tenant")
    drawing.grid(visible=True, which="both", alpha=0.3)
    drawing.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(
        path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else {}
    )
    pyplot.close(figure)


if __name__ == "__main__":
    main("scale", __doc__, run)
