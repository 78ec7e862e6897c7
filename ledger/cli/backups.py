"""What `backups verify` and `backups prune` print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ledger.cli.settings import Settings
from ledger.render.columns import Column
from ledger.render.rows import write_rows
from ledger.render.text import bytes_text, count_text, one_line, short_time

if TYPE_CHECKING:
    from ledger.runner.prune import BackupCheck, Pruning

CHECK_FOUND: Final = 4

_CHECKS: Final = (
    Column("seq", "Seq", number=True),
    Column("tenant", "Tenant"),
    Column("at", "Taken"),
    Column("bytes", "Size", number=True),
    Column("sound", "Sound"),
    Column("problem", "Problem"),
    Column("path", "Path"),
)
_PRUNINGS: Final = (
    Column("seq", "Seq", number=True),
    Column("tenant", "Tenant"),
    Column("at", "Taken"),
    Column("bytes", "Size", number=True),
    Column("path", "Path"),
)


def checks(settings: Settings, found: Sequence[BackupCheck]) -> int:
    """One row a backup; 4 if one is bad."""
    rows: list[dict[str, Any]] = []
    for one in found:
        row = msgspec.to_builtins(one) | {"sound": one.sound, "problem": one.problem}
        if settings.format == "table":
            row |= {"at": short_time(one.at), "bytes": bytes_text(one.bytes)}
        if one.sound and settings.quiet and settings.format == "table":
            continue
        rows.append(row)
    write_rows(
        rows,
        _CHECKS,
        form=settings.format,
        out=sys.stdout,
        empty="" if settings.quiet else "No backups.",
    )
    bad = sum(not one.sound for one in found)
    if settings.format == "table" and found and not settings.quiet:
        sys.stdout.write(f"\n{count_text(len(found), 'backup')}, {bad} bad\n")
    return CHECK_FOUND if bad else 0


def prunings(settings: Settings, plans: Sequence[Pruning]) -> None:
    """One row for each backup that would go; tenants of which none may go are named."""
    rows = [
        {
            "seq": one.seq,
            "tenant": one.tenant,
            "at": short_time(one.at) if settings.format == "table" else one.at,
            "bytes": bytes_text(one.backup.bytes)
            if settings.format == "table"
            else one.backup.bytes,
            "path": one.backup.path,
        }
        for plan in plans
        for one in (*plan.delete, *plan.leftovers)
    ]
    write_rows(rows, _PRUNINGS, form=settings.format, out=sys.stdout, empty="Nothing to delete.")
    for plan in plans:
        if plan.problem:
            sys.stderr.write(f"{one_line(plan.tenant)}: {one_line(plan.problem)}\n")
