"""`diff` as text and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TextIO

import msgspec

from ledger.diff.compare import FleetDiff, Standing, TenantDiff
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import count_text, time_text

TENANTS_SHOWN: Final = 20

_VERSIONS: Final = (
    Column("migration", "Migration"),
    Column("before", "Before", number=True),
    Column("after", "After", number=True),
    Column("applied", "Applied", number=True),
    Column("undone", "Undone", number=True),
    Column("came", "Came", number=True),
    Column("went", "Went", number=True),
)
_TENANTS: Final = (
    Column("tenant", "Tenant"),
    Column("change", "Change"),
    Column("before", "Before"),
    Column("after", "After"),
    Column("applied", "Applied"),
    Column("undone", "Undone"),
)


def write_diff(found: FleetDiff, *, form: Format, out: TextIO) -> None:
    """By version, then by tenant; json is one document, csv and jsonl have a row for each tenant."""
    if form == "json":
        write_json(found, out=out)
        return
    if form != "table":
        write_rows(map(msgspec.to_builtins, found.tenants), _TENANTS, form=form, out=out)
        return
    times = f"{time_text(found.since, out=out)} to {time_text(found.until, out=out)}"
    events = count_text(found.seq_until - found.seq_since, "event")
    out.write(f"{times}: {events}, {count_text(len(found.runs), 'run')}\n\n")
    write_rows(
        map(msgspec.to_builtins, found.versions), _VERSIONS, form="table", out=out,
        empty="No migration was applied or undone.",
    )  # fmt: skip
    if found.tenants:
        out.write("\n")
        shown = found.tenants[:TENANTS_SHOWN]
        write_rows(map(_row, shown), _TENANTS, form="table", out=out)
        if len(found.tenants) > len(shown):
            out.write(f"… and {len(found.tenants) - len(shown):,} more (--format json has all)\n")
    counts = ", ".join(f"{count:,} {word}" for word, count in found.summary.items())
    out.write(f"\n{counts}\n")
    for run in found.runs[:TENANTS_SHOWN]:
        outcomes = ", ".join(f"{count:,} {word}" for word, count in run.outcomes.items())
        out.write(
            f"run {run.run}: {run.command} by {run.actor} at {time_text(run.started_at, out=out)}"
            f"{f': {outcomes}' if outcomes else ''}\n"
        )


def _row(one: TenantDiff) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(one)
    return row | {"before": _stood(one.before), "after": _stood(one.after)}


def _stood(sets: Sequence[Standing]) -> list[str]:
    return [f"{one.version or 'none'} {one.state}" for one in sets]
