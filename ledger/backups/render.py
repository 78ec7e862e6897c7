"""What `backups list`, `verify` and `prune --dry-run` print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

import msgspec

from ledger.backups.check import BackupCheck
from ledger.backups.prune import Pruning
from ledger.render.columns import Column
from ledger.render.rows import Format, write_rows
from ledger.render.text import bytes_text, count_text, time_text
from ledger.runner.kept import KeptBackup

_BACKUP: Final = (
    Column("seq", "Seq", number=True),
    Column("tenant", "Tenant"),
    Column("at", "Taken"),
    Column("bytes", "Size", number=True),
)
_PATH: Final = Column("path", "Path")
_LIST: Final = (*_BACKUP, Column("applied", "With"), _PATH)
_CHECKS: Final = (*_BACKUP, Column("sound", "Sound"), Column("problem", "Problem"), _PATH)
_PRUNINGS: Final = (*_BACKUP, _PATH)


def write_backups(found: Iterable[KeptBackup], *, form: Format, out: TextIO) -> None:
    """One row a backup; `applied` are the migrations that it holds, in a table the newest alone."""
    rows = []
    for kept in found:
        backup = kept.backup
        applied = [ref.id for ref in backup.applied]
        rows.append(
            {
                "seq": kept.seq,
                "tenant": kept.tenant,
                "at": kept.at,
                "run": kept.run,
                "bytes": backup.bytes,
                "sha256": backup.sha256,
                "format": backup.format,
                "covers": backup.covers,
                "applied": applied if form != "table" else applied[-1:] or "nothing applied",
                "path": backup.path,
            }
        )
    _write(rows, _LIST, form=form, out=out, empty="No backups.")


def write_checks(
    found: Sequence[BackupCheck], *, form: Format, out: TextIO, quiet: bool = False
) -> None:
    """One row a backup, and how many are bad. With `quiet` a table has only the bad ones."""
    rows = [
        msgspec.to_builtins(check) | {"sound": check.sound, "problem": check.problem}
        for check in found
        if not (check.sound and quiet and form == "table")
    ]
    _write(rows, _CHECKS, form=form, out=out, empty="" if quiet else "No backups.")
    if form == "table" and found and not quiet:
        bad = sum(not check.sound for check in found)
        out.write(f"\n{count_text(len(found), 'backup')}, {bad} bad\n")


def write_prunings(plans: Iterable[Pruning], *, form: Format, out: TextIO) -> None:
    """One row for each backup that would go."""
    rows = [
        {
            "seq": kept.seq,
            "tenant": kept.tenant,
            "at": kept.at,
            "bytes": kept.backup.bytes,
            "path": kept.backup.path,
        }
        for plan in plans
        for kept in (*plan.delete, *plan.leftovers)
    ]
    _write(rows, _PRUNINGS, form=form, out=out, empty="Nothing to delete.")


def _write(
    rows: Iterable[dict[str, Any]],
    columns: Sequence[Column],
    *,
    form: Format,
    out: TextIO,
    empty: str,
) -> None:
    """The rows; in a table their times and sizes as a person reads them."""
    if form == "table":
        rows = [
            row | {"at": time_text(row["at"], out=out), "bytes": bytes_text(row["bytes"])}
            for row in rows
        ]
    write_rows(rows, columns, form=form, out=out, empty=empty)
