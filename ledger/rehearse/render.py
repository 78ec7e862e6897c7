"""What a rehearsal came to: a line a migration, times and sizes, and what did not lead back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TextIO

import msgspec

from ledger.events import Change
from ledger.rehearse.report import Rehearsal, RehearsalReport
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import (
    Symbols,
    bytes_text,
    count_text,
    one_line,
    seconds_text,
    time_text,
    write_lines,
)

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("result", "Result"),
    Column("source", "From"),
    Column("count", "Migrations", number=True),
    Column("up", "Up", number=True),
    Column("down", "Down"),
    Column("down_time", "Back", number=True),
    Column("again", "Again", number=True),
    Column("size", "Size"),
)
_ROWS: Final = (
    Column("tenant", "Tenant"),
    Column("result", "Result"),
    Column("source", "From"),
    Column("migrations", "Migrations"),
    Column("down", "Down"),
    Column("migrate_us", "Up", number=True),
    Column("rollback_us", "Back", number=True),
    Column("reapply_us", "Again", number=True),
    Column("bytes_before", "Before", number=True),
    Column("bytes_after", "After", number=True),
    Column("failed_checks", "Failed checks"),
    Column("error", "Error"),
    Column("message", "Message"),
)
_SIGNS: Final = {"added": "+", "missing": "-", "changed": "~"}


def write_rehearsal(
    report: RehearsalReport, *, form: Format, out: TextIO, quiet: bool = False
) -> None:
    """The report as text, JSON, or one row a tenant. With `quiet` the text has only what failed."""
    if form == "json":
        document = msgspec.to_builtins(report) | {"summary": report.summary}
        write_json(document | {"tenants": [_plain(made) for made in report.tenants]}, out=out)
    elif form == "table":
        _write_text(report, out=out, quiet=quiet)
    else:
        empty = {column.key: None for column in _ROWS}
        rows = (empty | _plain(made) for made in report.tenants)
        write_rows(rows, _ROWS, form=form, out=out)


def _plain(made: Rehearsal) -> dict[str, Any]:
    """A tenant's rehearsal as plain values, with the worst word on its down steps."""
    return {**msgspec.to_builtins(made), "down": made.down}


def _write_text(report: RehearsalReport, *, out: TextIO, quiet: bool) -> None:
    failed = ("failed", "error")
    shown = [made for made in report.tenants if not quiet or made.result in failed]
    if quiet and not shown:
        return
    write_rows((_row(made, out) for made in shown), _COLUMNS, form="table", out=out)
    symbols = Symbols(out)
    for made in shown:
        write_lines(_story(made, symbols), out=out)
    if not quiet:
        notes = [f"note: {one_line(note)}" for note in report.notes]
        write_lines([*notes, _summary(report)], out=out)


def _row(made: Rehearsal, out: TextIO) -> dict[str, Any]:
    at = made.source_at
    sizes = [bytes_text(size) for size in (made.bytes_before, made.bytes_after) if size is not None]
    return {
        "tenant": made.tenant,
        "result": made.result,
        "source": f"{made.source} {time_text(at, out=out)}" if at else made.source,
        "count": len(made.migrations),
        "up": _time(made.migrate_us),
        "down": _down(made),
        "down_time": _time(made.rollback_us),
        "again": _time(made.reapply_us),
        "size": " -> ".join(sizes),
    }


def _down(made: Rehearsal) -> str:
    """`works`, `1 of 2` where older ones have no down steps, or what is wrong."""
    words = [migration.down for migration in made.migrations]
    if not words or made.stage == "migrate":
        return ""
    works = words.count("works")
    if made.down in ("none", "not_run") and works:
        return f"{works} of {len(words)}"
    return made.down


def _time(micros: int) -> str:
    return seconds_text(micros / 1e6) if micros else ""


def _story(made: Rehearsal, symbols: Symbols) -> Iterator[str]:
    """More of a tenant that did not pass, and what is worth knowing of one that did."""
    name = one_line(made.tenant)
    if made.result in ("failed", "error"):
        where = [made.migration] if made.migration else []
        where += [f"step {made.step}"] if made.step else []
        place = f" ({made.file}:{made.line})" if made.file else ""
        stage = f" at {made.stage}" if made.stage else ""
        said = ": ".join([*where, one_line(made.message)])
        yield f"{symbols.failed} {name}{stage}: {said}{place}"
        if made.hint:
            yield f"    hint: {one_line(made.hint)}"
    for migration in made.migrations:
        for change in migration.differences:
            yield f"    {one_line(migration.migration)}: {_change(change)}"
        if migration.down == "none":
            yield f"    note: {name}: {one_line(migration.migration)} has no down steps"
    for change in made.differences:
        yield f"    {_change(change)}"
    for note in made.notes:
        yield f"    note: {name}: {one_line(note)}"


def _change(change: Change) -> str:
    line = f"{_SIGNS[change.how]} {change.kind} {one_line(change.name)} {change.how}"
    if change.how == "changed":
        line += f": {one_line(change.expected)} -> {one_line(change.found)}"
    return line


def _summary(report: RehearsalReport) -> str:
    counts = ", ".join(f"{count:,} {word}" for word, count in report.summary.items())
    times = [made.migrate_us for made in report.tenants]
    more = f" · {report.left_out:,} left out" if report.left_out else ""
    return (
        f"{counts or 'nothing'} · {count_text(len(times), 'tenant')} rehearsed{more}"
        f" · up {seconds_text(sum(times) / 1e6)} in all, {seconds_text(max(times, default=0) / 1e6)} at most;"
        " no live tenant was changed"
    )
