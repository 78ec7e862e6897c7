"""`python -m bench`: every row of the target table, measured here and now.

python -m bench                 the target table, at sizes that take some minutes
python -m bench --quick         tiny: does it run at all
python -m bench --full          at the sizes of the table
python -m bench all             with the scripts that have no target (scale, syncs, profile)
python -m bench migrate noop    these scripts only
python -m bench --list          the scripts
python -m bench all --full --write    and write bench/RESULTS.md
python -m bench --rewrite       that file again, once bench/reasons.toml says why a target is missed
"""

from __future__ import annotations

import datetime
import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.children import CommandFailedError
from bench.fleet import WorkloadError
from bench.machine import look
from bench.options import Options, from_arguments, parser
from bench.report import (
    Report,
    Table,
    TargetRow,
    new_console,
    show,
    show_report,
    target_table,
    unmeasured,
)
from bench.results import RESULTS, Run, keep, rewrite

SCRIPTS = {
    "migrate": "a fleet beside the raw loop and every peer, backups on and off, slow disk",
    "noop": "nothing to do: seconds beyond start-up, queries a server, noticing a restore",
    "plan": "a large fleet with a long history",
    "ledger": "append, replay, projections; beside raw SQL and the eventsourcing package",
    "audit": "a large ledger: bytes an event, and what each way of reading it costs",
    "split": "splitting scripts into statements",
    "markers": "bytes of the marker in a tenant, beside a bare table",
    "memory": "peak memory as the fleet grows",
    "startup": "what a command costs before it does anything",
    "scale": "time per tenant and memory from 100 to 10,000 tenants, with a plot",
    "syncs": "syncs per tenant, counted by strace",
    "profile": "where a tenant's microseconds go",
}
WITH_TARGETS = (
    "migrate",
    "noop",
    "plan",
    "ledger",
    "audit",
    "split",
    "markers",
    "memory",
    "startup",
)


def measure(name: str, options: Options) -> Report:
    """One script; one that breaks becomes a row that says so, and the others go on."""
    sys.stderr.write(f"bench.{name} ...\n")
    run = importlib.import_module(f"bench.{name}").run
    try:
        report: Report = run(options)
    except (CommandFailedError, WorkloadError, subprocess.SubprocessError) as error:
        what = f"bench.{name}"
        row = unmeasured(name, what, "to run", f"{type(error).__name__}: {error}")
        return Report(script=name, tables=(), targets=(row,))
    return report


def scripts_for(given: list[str]) -> tuple[str, ...]:
    """The scripts asked for, in the order of the list."""
    if not given:
        return WITH_TARGETS
    if "all" in given:
        return tuple(SCRIPTS)
    unknown = [name for name in given if name not in SCRIPTS]
    if unknown:
        raise SystemExit(f"no script {unknown[0]!r}; there are: {', '.join(SCRIPTS)}")
    return tuple(name for name in SCRIPTS if name in given)


def listing() -> Table:
    """What there is."""
    return Table(
        title="The benches (python -m bench.NAME --help)",
        columns=("name", "what"),
        rows=tuple(SCRIPTS.items()),
    )


def main() -> int:
    """Run, print every table, then the target table; 1 if a script broke."""
    made = parser(__doc__, prog="python -m bench")
    made.add_argument("scripts", nargs="*", metavar="SCRIPT", help="which; `all` for every one")
    made.add_argument("--list", action="store_true", help="list the scripts and do nothing")
    made.add_argument("--run", action="store_true", help="run (this is what it does anyway)")
    made.add_argument(
        "--rewrite",
        action="store_true",
        help="write bench/RESULTS.md anew, with bench/reasons.toml",
    )
    made.add_argument("--write", action="store_true", help="write bench/RESULTS.md, and its plot")
    given = made.parse_args()
    console = new_console()
    if given.list:
        show(listing(), console)
        return 0
    command = f"python -m bench {shlex.join(sys.argv[1:])}".strip()
    if given.rewrite:
        rewrite()
        return 0
    options = from_arguments(given, command=command)
    names = scripts_for(given.scripts)
    if given.write and "scale" in names and options.plot is None:
        options = msgspec.structs.replace(options, plot=Path(__file__).with_name("scale.svg"))
    reports = [measure(name, options) for name in names]
    targets: tuple[TargetRow, ...] = tuple(row for report in reports for row in report.targets)
    machine = look(options)
    whole = Report(
        script="all",
        tables=tuple(table for report in reports for table in report.tables),
        targets=targets,
        machine=machine,
        command=command,
    )
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(whole)).decode() + "\n")
    else:
        show_report(msgspec.structs.replace(whole, targets=()), console)
        show(target_table(targets), console)
    if given.write:
        now = datetime.datetime.now(datetime.UTC)
        keep(Run(at=now, reports=tuple(reports), machine=machine, options=options))
        sys.stderr.write(f"written: {RESULTS.name}\n")
    return int(any(row.target == "to run" for row in targets))


if __name__ == "__main__":
    raise SystemExit(main())
