"""What a script found, as values, and how it is printed.

Invariant: a table that a person reads and the JSON hold the same figures.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from bench.machine import Machine, look
from bench.options import Options, from_arguments, parser


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of text under columns; `notes` say what a reader must know to trust them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


class TargetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the target table. `met` is None where it could not be measured; `note` says why.

    `value` is the measured figure that `target` limits.
    """

    key: str
    what: str
    target: str
    measured: str
    met: bool | None
    value: float | None = None
    note: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One script's result."""

    script: str
    tables: tuple[Table, ...]
    targets: tuple[TargetRow, ...] = ()
    machine: Machine | None = None
    command: str = ""


Run = Callable[[Options], Report]


def unmeasured(key: str, what: str, target: str, why: str) -> TargetRow:
    """A row that this machine could not fill."""
    return TargetRow(key=key, what=what, target=target, measured="-", met=None, note=why)


def yes_no(met: bool | None) -> str:
    """The last column of the target table."""
    return {True: "yes", False: "no", None: "not measured"}[met]


def target_table(targets: tuple[TargetRow, ...]) -> Table:
    """Targets, missed ones with their notes."""
    return Table(
        title="Targets",
        columns=("what", "target", "measured", "met"),
        rows=tuple((one.what, one.target, one.measured, yes_no(one.met)) for one in targets),
        notes=tuple(f"{one.what}: {one.note}" for one in targets if one.note),
    )


def show(table: Table, console: Console) -> None:
    """One table and its notes."""
    drawn = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(f"  {note}", style="dim", highlight=False)


def show_report(report: Report, console: Console) -> None:
    """The machine, the tables, and the targets if there are any."""
    if report.machine is not None:
        console.print(report.machine.line(), style="dim", highlight=False)
    for table in report.tables:
        show(table, console)
    if report.targets:
        show(target_table(report.targets), console)


def new_console() -> Console:
    """Wide enough that a table in a file is not folded."""
    return Console() if sys.stdout.isatty() else Console(width=140)


def main(script: str, description: str | None, run: Run) -> None:
    """A script's command line: parse, measure, print."""
    given = parser(description, prog=f"python -m bench.{script}").parse_args()
    command = f"python -m bench.{script} {shlex.join(sys.argv[1:])}".strip()
    options = from_arguments(given, command=command)
    report = msgspec.structs.replace(run(options), machine=look(options), command=command)
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        show_report(report, new_console())
