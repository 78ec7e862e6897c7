"""A run's report: how many, every failed tenant with its reason, and the command to continue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, TextIO

import msgspec

from ledger.errors import chosen
from ledger.fleet.report import RunReport
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import count_text, one_line, seconds_text, write_lines
from ledger.runner.outcome import Outcome

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("result", "Result"),
    Column("version", "Version"),
    Column("migrations", "Migrations"),
    Column("steps", "Steps", number=True),
    Column("skipped", "Skipped", number=True),
    Column("duration_us", "Microseconds", number=True),
    Column("backup", "Backup"),
    Column("error", "Error"),
    Column("message", "Message"),
)
NAMES_SHOWN: Final = 10
CONTINUED: Final = frozenset(
    {
        "not_run",
        "interrupted",
        "unreachable",
        "locked",
        "claim_held",
        "fenced",
        "step_failed",
        "disk_full",
        "check_failed",
        "backup_failed",
        "regressed",
        "internal_error",
    }
)
"""Errors after which the same command goes on, once their cause is gone. After the others (a refusal, a
step in doubt, no way back) another command comes first: the hint names it."""

_DONE: Final = {
    "migrated": "migrated",
    "rolled_back": "rolled back",
    "restored": "restored",
    "baselined": "baselined",
    "imported": "imported",
    "maintained": "maintained",
    "reset": "reset",
    "pruned": "pruned",
    "unlocked": "unlocked",
    "resolved": "resolved",
    "current": "already current",
    "failed": "failed",
    "unreachable": "unreachable",
    "in_doubt": "in doubt",
    "refused": "refused",
    "not_run": "not reached",
}


def write_report(
    report: RunReport, *, form: Format, out: TextIO, again: str, quiet: bool = False
) -> None:
    """The report as text, JSON, or one row a tenant. `again` is the command line that continues it.

    With `quiet` the text has only what failed.
    """
    if form == "json":
        document = msgspec.to_builtins(report)
        document |= {
            "summary": report.summary,
            "success": report.success,
            "applied": report.applied,
            "errors": report.errors,
            "not_run": [outcome.tenant for outcome in report.not_run],
        }
        write_json(document, out=out)
    elif form in ("jsonl", "csv"):
        rows = [
            {column.key: None for column in _COLUMNS} | msgspec.to_builtins(outcome)
            for outcome in report.outcomes
        ]
        write_rows(rows, _COLUMNS, form=form, out=out)
    else:
        lines = quiet_lines if quiet else report_lines
        write_lines(lines(report, again=again), out=out)


def report_lines(report: RunReport, *, again: str) -> Iterator[str]:
    """The lines for a person; one alone when nothing was to do."""
    total = len(report.outcomes)
    warnings = Counter(warning for outcome in report.outcomes for warning in outcome.warnings)
    for warning in report.warnings:
        yield f"warning: {one_line(warning)}"
    for warning, count in warnings.items():
        yield f"warning: {one_line(warning)}" + (
            f" ({count_text(count, 'tenant')})" if total > 1 else ""
        )
    if not total:
        yield "No tenants were found: see `ledger tenants`."
        return
    if set(report.summary) == {"current"}:
        are, have = ("is", "has") if total == 1 else ("are", "have")
        why = {"migrate": f"{are} current", "rollback": f"{have} none of it applied"}
        said = why.get(report.command)
        yield f"Nothing to do: {count_text(total, 'tenant')} {said}." if said else "Nothing to do."
        return
    if report.failures:
        yield from _failures(report, total)
    yield from _not_reached(report)
    counts = ", ".join(f"{count:,} {_DONE[result]}" for result, count in report.summary.items())
    run = f" · run {report.run}" if report.run else ""
    yield f"{counts} · {count_text(total, 'tenant')} in {seconds_text(report.duration_us / 1e6)}{run}"
    yield from _continue(report, again)


def _continue(report: RunReport, again: str) -> Iterator[str]:
    """The same command once more, where that goes on with a tenant that failed or was not reached."""
    if (
        report.interrupted
        or report.not_run
        or any(
            failure.result == "unreachable" or failure.error in CONTINUED
            for failure in report.failures
        )
    ):
        yield f"To continue: {again}"


def quiet_lines(report: RunReport, *, again: str) -> Iterator[str]:
    """The failures, and how to continue."""
    if report.failures:
        yield from _failures(report, len(report.outcomes))
    yield from _not_reached(report)
    yield from _continue(report, again)


def _failures(report: RunReport, total: int) -> Iterator[str]:
    """Each one by name, alike hints once: 5,000 tenants may have failed for one reason."""
    yield f"{count_text(len(report.failures), 'tenant')} of {total:,} failed:"
    hints: dict[str, list[str]] = {}
    for outcome in report.failures:
        yield f"  {one_line(outcome.tenant)}: {reason(outcome)}"
        if outcome.hint:
            alike = outcome.hint.replace(chosen(outcome.tenant), "--tenant NAME")
            hints.setdefault(alike, []).append(outcome.hint)
    for alike, said in hints.items():
        yield f"hint: {one_line(said[0] if len(said) == 1 else alike)}"


def _not_reached(report: RunReport) -> Iterator[str]:
    """Tenants that nothing is wrong with, as far as is known: why the run did not come to them, and some names."""
    why: dict[str, list[str]] = {}
    for outcome in report.not_run:
        why.setdefault(outcome.message, []).append(one_line(outcome.tenant))
    for message, names in why.items():
        more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
        shown = ", ".join(names[:NAMES_SHOWN]) + more
        yield f"{count_text(len(names), 'tenant')} not reached ({one_line(message)}): {shown}"


def reason(outcome: Outcome) -> str:
    """Why a tenant failed, on one line: where, what, and the place in the file."""
    said = one_line(outcome.message)
    place = ""
    if outcome.file:
        place = f" ({outcome.file}:{outcome.line})" if outcome.line else f" ({outcome.file})"
    where = [outcome.migration] if outcome.migration else []
    if said.startswith("step "):
        said = " ".join((*where, said))
    else:
        where += [f"step {outcome.step}"] if outcome.step else []
        said = f"{' '.join(where)}: {said}" if where else said
    return f"{_DONE[outcome.result]}: {said}{place}"
