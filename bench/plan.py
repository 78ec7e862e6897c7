"""Plan: `ledger plan` over a large fleet with a long history, to its end and as JSON.

    python -m bench.plan [--tenants N]

All tenants new, and then some of them at different versions, so that more than
one decision is made.
"""

from __future__ import annotations

from pathlib import Path

from bench.fleet import SqliteFleet, work_folder
from bench.measure import alternate, median, spread
from bench.options import Options
from bench.ours import Product
from bench.report import Report, Table, TargetRow, main

MIGRATIONS = 200
LIMIT_SECONDS = 2.0


def write_migrations(folder: Path, count: int) -> None:
    """Small files: one table each."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        text = f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
        (folder / f"{number:03}_t{number}.sql").write_text(text)


def run(options: Options) -> Report:
    """Plan for new tenants, and for a mixed fleet."""
    count = options.pick(quick=30, modest=2000, full=10_000)
    migrations = 20 if options.size == "quick" else MIGRATIONS
    standing = {"quick": 2, "modest": 5, "full": 20}[options.size]
    with work_folder(options) as folder:
        fleet = SqliteFleet(folder / "tenants", count)
        fleet.fresh(count)
        product = Product(folder / "ours", fleet.config())
        write_migrations(product.migrations, migrations)
        new = alternate({"all new": lambda: product.command("plan")}, options.rounds())
        for number in range(standing):
            version = f"{(number + 1) * migrations // (standing + 1):03}"
            product.command(
                "-q", "migrate", "--no-backup", "--tenant", f"t{number:05}", "--to", version
            )
        mixed = f"{standing} of them at {standing} versions"
        sides = {
            mixed: lambda: product.command("plan"),
            "as JSON": lambda: product.command("--format", "json", "plan"),
        }
        readings = new | alternate(sides, options.rounds())
    worst = max(median(one) for one in (readings["all new"], readings[mixed]))
    if count >= 10_000:
        met, note = worst <= LIMIT_SECONDS, ""
    elif worst <= LIMIT_SECONDS * count / 10_000 and migrations == MIGRATIONS:
        met, note = True, "in proportion to the tenants, start-up and all"
    else:
        met, note = None, "the fleet is too small to tell: start-up is most of it"
    return Report(
        script="plan",
        tables=(
            Table(
                title=f"ledger plan, {count} tenants x {migrations} migrations",
                columns=("fleet", "s, whole command (low-high)"),
                rows=tuple((name, spread(one, 1)) for name, one in readings.items()),
            ),
        ),
        targets=(
            TargetRow(
                key="plan",
                what="plan, 10,000 tenants x 200 migrations",
                target="≤ 2 s",
                measured=f"{worst:.2f} s with {count} x {migrations}",
                met=met,
                value=worst,
                note=note,
            ),
        ),
    )


if __name__ == "__main__":
    main("plan", __doc__, run)
