"""`stats` as text and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TextIO

import msgspec

from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import bytes_text, count_text, one_line, seconds_text
from ledger.stats.gather import Stats

Part = Literal["tenant", "migration", "step"]

_SIZES: Final = (
    Column("tenant", "Tenant"),
    Column("bytes", "Size", number=True),
    Column("growth_bytes", "By migrations", number=True),
    Column("migrations", "Migrations", number=True),
    Column("in_part", "In part"),
)
_GROWTH: Final = (
    Column("migration", "Migration"),
    Column("tenants", "Tenants", number=True),
    Column("total_bytes", "Growth", number=True),
    Column("median_bytes", "Median", number=True),
    Column("p95_bytes", "p95", number=True),
    Column("max_bytes", "Max", number=True),
    Column("largest", "Grew most"),
    Column("median_us", "Median time", number=True),
    Column("p95_us", "p95 time", number=True),
    Column("max_us", "Max time", number=True),
    Column("slowest", "Slowest"),
)
_STEPS: Final = (
    Column("migration", "Migration"),
    Column("direction", "Direction"),
    Column("step", "Step", number=True),
    Column("name", "Name"),
    Column("tenants", "Tenants", number=True),
    Column("median_us", "Median", number=True),
    Column("p95_us", "p95", number=True),
    Column("max_us", "Max", number=True),
    Column("slowest", "Slowest"),
)
TENANTS_SHOWN: Final = 10


def write_stats(stats: Stats, *, part: Part | None, form: Format, out: TextIO) -> None:
    """All parts, or one of them. csv and jsonl hold one part, `tenant` by default; figures are plain there."""
    if form == "json" and part is None:
        write_json(stats, out=out)
        return
    if form != "table":
        rows, columns = _part(stats, part or "tenant")
        write_rows(rows, columns, form=form, out=out)
        return
    parts: Sequence[Part] = (part,) if part else ("tenant", "migration", "step")
    for number, each in enumerate(parts):
        rows, columns = _part(stats, each)
        shown = rows[:TENANTS_SHOWN] if each == "tenant" and part is None else rows
        if number:
            out.write("\n")
        write_rows(map(_readable, shown), columns, form=form, out=out, empty=_EMPTY[each])
        if each == "tenant":
            more = len(rows) - len(shown)
            rest = f"… and {more:,} more; " if more else ""
            out.write(f"{rest}{count_text(len(rows), 'tenant')}, {bytes_text(stats.total_bytes)}\n")


_EMPTY: Final = {
    "tenant": "No tenants.",
    "migration": "No migration was applied yet.",
    "step": "No step was applied yet.",
}


def _part(stats: Stats, part: Part) -> tuple[list[dict[str, Any]], tuple[Column, ...]]:
    found, columns = {
        "tenant": (stats.sizes, _SIZES),
        "migration": (stats.growth, _GROWTH),
        "step": (stats.steps, _STEPS),
    }[part]
    return [msgspec.to_builtins(row) for row in found], columns


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, value in row.items():
        if value is None:
            shown[key] = None
        elif key == "bytes":
            shown[key] = bytes_text(value)
        elif key.endswith("_bytes"):
            shown[key] = f"{'-' if value < 0 else '+'}{bytes_text(abs(value))}"
        elif key.endswith("_us"):
            shown[key] = _micro(value)
        else:
            shown[key] = one_line(value) if isinstance(value, str) else value
    return shown


def _micro(count: int) -> str:
    return f"{count} us" if count < 1000 else seconds_text(count / 1e6)
