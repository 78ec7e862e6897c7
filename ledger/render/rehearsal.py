"""What a rehearsal came to: a line a migration, times and sizes, and what did not lead back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import (
    Symbols,
    bytes_text,
    count_text,
    one_line,
    seconds_text,
    short_time,
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
    document: Mapping[str, Any], *, form: Format, out: TextIO, quiet: bool = False
) -> None:
    """The report as text, JSON, or one row a tenant; `document` is the whole report as plain values.

    With `quiet` the text has only what failed.
    """
    tenants: Sequence[Mapping[str, Any]] = document["tenants"]
    if form == "json":
        write_json(document, out=out)
    elif form == "table":
        if quiet:
            tenants = [one for one in tenants if one["result"] in ("failed", "error")]
            if not tenants:
                return
        write_rows((_row(one) for one in tenants), _COLUMNS, form=form, out=out)
        symbols = Symbols(out)
        for one in tenants:
            write_lines(_story(one, symbols), out=out)
        if not quiet:
            notes = [f"note: {one_line(note)}" for note in document.get("notes", ())]
            write_lines([*notes, _summary(document)], out=out)
    else:
        empty = {column.key: None for column in _ROWS}
        write_rows((empty | dict(one) for one in tenants), _ROWS, form=form, out=out)


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    at = one.get("source_at")
    source = one.get("source", "")
    before, after = one.get("bytes_before"), one.get("bytes_after")
    sizes = [bytes_text(size) for size in (before, after) if size is not None]
    return {
        "tenant": one["tenant"],
        "result": one["result"],
        "source": f"{source} {short_time(at)}" if at else source,
        "count": len(one.get("migrations", ())),
        "up": _time(one.get("migrate_us")),
        "down": _down(one),
        "down_time": _time(one.get("rollback_us")),
        "again": _time(one.get("reapply_us")),
        "size": " -> ".join(sizes),
    }


def _down(one: Mapping[str, Any]) -> str:
    """`works`, `1 of 2` where older ones have no down steps, or what is wrong."""
    words = [migration.get("down", "not_run") for migration in one.get("migrations", ())]
    if not words or one.get("stage") == "migrate":
        return ""
    works = words.count("works")
    if one["down"] in ("none", "not_run") and works:
        return f"{works} of {len(words)}"
    return str(one["down"])


def _time(micros: int | None) -> str:
    return seconds_text(micros / 1e6) if micros else ""


def _story(one: Mapping[str, Any], symbols: Symbols) -> Iterator[str]:
    """More of a tenant that did not pass, and what is worth knowing of one that did."""
    name = one_line(one["tenant"])
    if one["result"] in ("failed", "error"):
        where = [one["migration"]] if one.get("migration") else []
        where += [f"step {one['step']}"] if one.get("step") else []
        place = f" ({one['file']}:{one.get('line')})" if one.get("file") else ""
        stage = f" at {one['stage']}" if one.get("stage") else ""
        said = ": ".join([*where, one_line(one.get("message", ""))])
        yield f"{symbols.failed} {name}{stage}: {said}{place}"
        if one.get("hint"):
            yield f"    hint: {one_line(one['hint'])}"
    for migration in one.get("migrations", ()):
        for change in migration.get("differences", ()):
            yield f"    {one_line(migration['migration'])}: {_change(change)}"
        if migration.get("down") == "none":
            yield f"    note: {name}: {one_line(migration['migration'])} has no down steps"
    for change in one.get("differences", ()):
        yield f"    {_change(change)}"
    for note in one.get("notes", ()):
        yield f"    note: {name}: {one_line(note)}"


def _change(change: Mapping[str, Any]) -> str:
    line = f"{_SIGNS[change['how']]} {change['kind']} {one_line(change['name'])} {change['how']}"
    if change["how"] == "changed":
        line += f": {one_line(change.get('expected', ''))} -> {one_line(change.get('found', ''))}"
    return line


def _summary(document: Mapping[str, Any]) -> str:
    tenants = document["tenants"]
    counts = ", ".join(f"{count:,} {word}" for word, count in document["summary"].items())
    up = sum(one.get("migrate_us", 0) for one in tenants)
    longest = max((one.get("migrate_us", 0) for one in tenants), default=0)
    more = f" · {document['left_out']:,} left out" if document.get("left_out") else ""
    return (
        f"{counts or 'nothing'} · {count_text(len(tenants), 'tenant')} rehearsed{more}"
        f" · up {seconds_text(up / 1e6)} in all, {seconds_text(longest / 1e6)} at most;"
        " no live tenant was changed"
    )
