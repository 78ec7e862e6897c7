"""bench/RESULTS.md: one run's tables as printed, the missed targets named first.

`reasons.toml` beside this file says, under a target's key, why it is missed; a
person writes it after reading the profile.
"""

from __future__ import annotations

import io
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console

from bench.machine import Machine
from bench.options import Options
from bench.report import Report, Table, TargetRow, show, yes_no

RESULTS = Path(__file__).with_name("RESULTS.md")
FIGURES = Path(__file__).with_name("results.json")
REASONS = Path(__file__).with_name("reasons.toml")
WIDTH = 130


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benches, kept so that reasons can be written once its figures are known."""

    at: datetime
    reports: tuple[Report, ...]
    machine: Machine
    options: Options


def keep(run: Run) -> None:
    """Write the file, and the run beside it for `rewrite`; places on this machine are left out."""
    options = msgspec.structs.replace(run.options, dir=None, plot=None, server="")
    kept = msgspec.structs.replace(run, options=options)
    FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    rewrite()


def rewrite() -> None:
    """Write the file anew from the run that is kept, with the reasons as they are now."""
    run = msgspec.json.decode(FIGURES.read_bytes(), type=Run)
    RESULTS.write_text(results(run.reports, run.machine, run.options, now=run.at))


def results(reports: Sequence[Report], machine: Machine, options: Options, *, now: datetime) -> str:
    """The whole file."""
    targets = [row for report in reports for row in report.targets]
    parts = [
        "# Results\n",
        "Written by `python -m bench --write`; do not edit it. The figures of a README come from here.\n",
        _head(machine, options, now),
        _missed(targets),
        _targets(targets),
    ]
    for report in reports:
        if report.tables:
            parts.append(f"## bench.{report.script}\n")
            parts += [_as_printed(table) for table in report.tables]
    return "\n".join(parts)


def _head(machine: Machine, options: Options, now: datetime) -> str:
    lines = [
        f"- date: {now:%Y-%m-%d %H:%M} UTC",
        f"- command: `{options.command}`",
        f"- machine: {machine.line()}",
        f"- rounds: {options.rounds()}; figures are medians, lowest and highest in brackets,"
        " ratios taken pair by pair within a round",
    ]
    if options.size != "full":
        lines.insert(0, f"**A {options.size} run: smaller than the target table's sizes.**\n")
    return "\n".join(lines) + "\n"


def _missed(targets: Sequence[TargetRow]) -> str:
    missed = [row for row in targets if row.met is not True]
    if not missed:
        return "Every target is met.\n"
    reasons = tomllib.loads(REASONS.read_text()) if REASONS.exists() else {}
    lines = ["## Missed\n"]
    for row in missed:
        why = (
            reasons.get(row.key)
            or row.note
            or f"no reason written yet (`reasons.toml`, `{row.key}`)"
        )
        lines.append(f"- **{row.what}**: {row.measured} ({row.target}; {yes_no(row.met)}). {why}")
    return "\n".join(lines) + "\n"


def _targets(targets: Sequence[TargetRow]) -> str:
    lines = ["## Targets\n", "| what | target | measured | met |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.what} | {row.target} | {row.measured} | {yes_no(row.met)} |" for row in targets
    ]
    notes = [f"- {row.what}: {row.note}" for row in targets if row.note]
    return "\n".join([*lines, "", *notes]) + "\n"


def _as_printed(table: Table) -> str:
    out = io.StringIO()
    show(table, Console(file=out, width=WIDTH, no_color=True))
    text = "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")
    return f"```text\n{text}\n```\n"
