"""The commands that print rows: what the API returns, as columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ledger.cli.settings import Settings
from ledger.render.columns import Column
from ledger.render.rows import write_json, write_rows
from ledger.render.text import count_text, one_line, time_text

if TYPE_CHECKING:
    from ledger.api.status import Status
    from ledger.engines.base import Target
    from ledger.lint import Finding
    from ledger.projections import RunState

CHECK_FOUND: Final = 4

_STATUS: Final = (
    Column("tenant", "Tenant"),
    Column("engine", "Engine"),
    Column("set", "Set"),
    Column("version", "Version"),
    Column("state", "State"),
    Column("pending", "Pending"),
    Column("last_event_at", "Last event"),
    Column("error", "Error"),
)


def status(
    settings: Settings, made: Status, *, check: bool = False, limit: int | None = None
) -> int:
    """Rows by tenant, at most `limit`, and the counts by state; with `check`, 4 if any is not current."""
    if settings.format == "json":
        write_json(made, out=sys.stdout)
    else:
        rows = [msgspec.to_builtins(tenant) for tenant in made.tenants[:limit]]
        if settings.format == "table":
            for row in rows:
                row["last_event_at"] = time_text(row["last_event_at"], out=sys.stdout)
        write_rows(rows, _STATUS, form=settings.format, out=sys.stdout, empty="No tenants.")
        if settings.format == "table":
            counts = ", ".join(f"{count:,} {state}" for state, count in made.summary.items())
            if limit is not None and len(made.tenants) > limit:
                sys.stdout.write(f"… and {len(made.tenants) - limit:,} more\n")
            sys.stdout.write(f"\n{counts or 'no tenants'} · ledger at seq {made.ledger.seq}\n")
    return CHECK_FOUND if check and made.needs_attention else 0


_TENANTS: Final = (
    Column("tenant", "Tenant"),
    Column("engine", "Engine"),
    Column("database", "Database"),
    Column("prefix", "Prefix"),
    Column("sets", "Sets"),
    Column("source", "Source"),
)


def tenants(settings: Settings, found: Sequence[Target]) -> int:
    """Where each tenant is and what it follows; no password is in it."""
    rows = (
        {
            "tenant": target.name,
            "engine": target.engine,
            "database": str(target.url),
            "prefix": target.prefix or None,
            "sets": list(target.sets),
            "source": target.source,
        }
        for target in found
    )
    write_rows(rows, _TENANTS, form=settings.format, out=sys.stdout, empty="No tenants.")
    return 0


_RUNS: Final = (
    Column("run", "Run"),
    Column("command", "Command"),
    Column("started_at", "Started"),
    Column("finished_at", "Finished"),
    Column("state", "State"),
    Column("tenants", "Tenants", number=True),
    Column("outcomes", "Outcomes"),
    Column("actor", "Actor"),
    Column("reason", "Reason"),
)


def runs(settings: Settings, found: Sequence[RunState]) -> int:
    """One row a run, with what became of it."""
    empty: dict[str, Any] = {column.key: None for column in _RUNS}
    rows = []
    for run in found:
        row = empty | msgspec.to_builtins(run)
        if settings.format == "table":
            counts = ", ".join(f"{count} {result}" for result, count in run.outcomes.items())
            row["outcomes"] = f"{counts} (interrupted)" if run.interrupted else counts
            row["state"] = run.state
            row["started_at"] = time_text(run.started_at, out=sys.stdout)
            row["finished_at"] = time_text(run.finished_at, out=sys.stdout) or "not yet"
        rows.append(row)
    write_rows(rows, _RUNS, form=settings.format, out=sys.stdout, empty="No runs yet.")
    return 0


_FINDINGS: Final = (
    Column("severity", "Severity"),
    Column("rule", "Rule"),
    Column("file", "File"),
    Column("line", "Line", number=True),
    Column("message", "Message"),
    Column("hint", "Hint"),
)


def findings(settings: Settings, found: Sequence[Finding]) -> int:
    """What lint found; 4 if any of it is an error."""
    if settings.format == "table":
        for finding in found:
            sys.stdout.write(
                f"{one_line(finding.file)}:{finding.line}: {finding.severity}: {one_line(finding.message)}"
                f" [{finding.rule}]\n"
            )
            if finding.hint:
                sys.stdout.write(f"    {one_line(finding.hint)}\n")
        errors = sum(finding.severity == "error" for finding in found)
        warnings = len(found) - errors
        if not settings.quiet:
            sys.stdout.write(
                f"{count_text(errors, 'error')}, {count_text(warnings, 'warning')}.\n"
                if found
                else "Nothing found.\n"
            )
    else:
        write_rows(
            (msgspec.to_builtins(finding) for finding in found),
            _FINDINGS,
            form=settings.format,
            out=sys.stdout,
        )
    return CHECK_FOUND if any(finding.severity == "error" for finding in found) else 0
