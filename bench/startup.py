"""Start-up: what a command costs before it does anything.

    python -m bench.startup

`ledger --version` beside importing click alone in a fresh interpreter, and
`ledger status` on a hundred tenants; the peers' own version commands for comparison.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from bench.children import run_command
from bench.fleet import SqliteFleet, work_folder
from bench.known_peers import VENV_PYTHON
from bench.measure import Side, alternate, median, ratio, spread
from bench.noop import migrated
from bench.options import Options
from bench.report import Report, Table, TargetRow, main

VERSION, CLICK, STATUS, BARE = "ledger --version", "import click", "ledger status", "python -c pass"


def run(options: Options) -> Report:
    """Every command in turn."""
    count = options.pick(quick=10, modest=100, full=100)
    rounds = options.rounds() * (1 if options.size == "quick" else 4)
    with work_folder(options) as folder:
        product = migrated(SqliteFleet(folder / "tenants", count), folder / "ours")

        def python(*arguments: str) -> Side:
            return lambda: run_command([sys.executable, *arguments], cwd=folder)

        sides = {
            BARE: python("-c", "pass"),
            CLICK: python("-c", "import click"),
            VERSION: python("-m", "ledger", "--version"),
            f"{STATUS}, {count} tenants": lambda: product.command("status"),
        }
        if options.peers:
            sides |= _peers(folder)
        readings = alternate(sides, rounds)
    found = ratio(readings[VERSION], readings[CLICK])
    status_ms = median(readings[f"{STATUS}, {count} tenants"]) * 1000
    return Report(
        script="startup",
        tables=(
            Table(
                title=f"Start-up, {rounds} rounds",
                columns=("command", "ms (low-high)"),
                rows=tuple((name, spread(one, 1000)) for name, one in readings.items()),
            ),
        ),
        targets=(
            TargetRow(
                key="startup-version",
                what="`ledger --version`",
                target="≤ 1.3 x importing click alone",
                measured=str(found),
                met=found.median <= 1.3,
                value=found.median,
            ),
            TargetRow(
                key="startup-status",
                what="`ledger status` on 100 tenants",
                target="≤ 300 ms",
                measured=f"{status_ms:.0f} ms on {count}",
                met=status_ms <= 300 if count >= 100 else None,
                value=status_ms,
                note="" if count >= 100 else f"{count} tenants only",
            ),
        ),
    )


def _peers(folder: Path) -> dict[str, Side]:
    """What is installed of `alembic --help` and `yoyo --help`."""
    programs = [VENV_PYTHON.with_name(name) for name in ("alembic", "yoyo")]
    return {
        f"{program.name} --help": partial(run_command, [str(program), "--help"], cwd=folder)
        for program in programs
        if program.exists()
    }


if __name__ == "__main__":
    main("startup", __doc__, run)
