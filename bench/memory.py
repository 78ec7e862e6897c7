"""Memory: the peak of a whole `ledger migrate`, and of one with nothing to do, as the fleet grows.

    python -m bench.memory [--tenants N]     (the large fleet; the small one is a tenth)

All processes of the command together; pages that they share count once.
"""

from __future__ import annotations

from bench.fleet import SqliteFleet, work_folder
from bench.options import Options
from bench.ours import Product
from bench.report import Report, Table, TargetRow, main

LIMIT_MIB = 150.0
RESULT_KIB = 5.0
"""What one tenant's result may hold: its outcome, its folded state and its place in the plan."""

JUDGED = 1000
"""Below so many more tenants, the growth is that of caches that fill, not of results."""


def run(options: Options) -> Report:
    """A small and a large fleet, P without backups."""
    large = options.pick(quick=30, modest=2000, full=10_000)
    rows = []
    peaks = []
    for count in (max(1, large // 10), large):
        with work_folder(options) as folder:
            fleet = SqliteFleet(folder / "tenants", count)
            product = Product.over(folder / "ours", fleet)
            fleet.fresh(count)
            work = product.migrate(watch_memory=True)
            fleet.check(count)
            idle = product.migrate(watch_memory=True)
            status = product.command("status", watch_memory=True)
        peaks.append(max(work.peak_mib, idle.peak_mib, status.peak_mib))
        rows.append(
            (
                f"{count} tenants",
                *(f"{one.peak_mib:.1f}" for one in (work, idle, status)),
                f"{work.seconds / count * 1000:.2f}",
            )
        )
    added = large - max(1, large // 10)
    growth_kib = (peaks[1] - peaks[0]) * 1024 / added
    return Report(
        script="memory",
        tables=(
            Table(
                title="Peak memory, MiB",
                columns=("fleet", "migrate", "nothing to do", "status", "ms/tenant"),
                rows=tuple(rows),
                notes=(
                    f"growth: {growth_kib:.2f} KiB a tenant (results may hold {RESULT_KIB:g} KiB)",
                ),
            ),
        ),
        targets=(
            TargetRow(
                key="memory",
                what="memory, 10,000 tenants",
                target=f"≤ {LIMIT_MIB:g} MiB peak, flat beyond the results",
                measured=f"{peaks[1]:.0f} MiB with {large}, +{growth_kib:.2f} KiB a tenant",
                met=peaks[1] <= LIMIT_MIB and growth_kib <= RESULT_KIB if added >= JUDGED else None,
                note="" if added >= JUDGED else "too few tenants to judge the growth",
                value=peaks[1],
            ),
        ),
    )


if __name__ == "__main__":
    main("memory", __doc__, run)
