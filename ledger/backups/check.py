"""Whether a backup is the recorded file, and whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ledger.engines.backups import verify_backup
from ledger.errors import BackupError
from ledger.runner.kept import KeptBackup


class BackupCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One backup read through. `problem` says what is wrong with it, nothing if it is sound."""

    tenant: str
    seq: int
    at: str
    path: str
    bytes: int
    problem: str = ""

    @property
    def sound(self) -> bool:
        """Whether it is the recorded file, and whole."""
        return not self.problem


async def check_backup(kept: KeptBackup) -> BackupCheck:
    """Read one through: its hash, and that a restore would take it."""
    backup = kept.backup
    problem = ""
    try:
        await verify_backup(Path(backup.path), form=backup.format, sha256=backup.sha256)
    except BackupError as error:
        problem = error.message
    return BackupCheck(
        tenant=kept.tenant,
        seq=kept.seq,
        at=kept.at,
        path=backup.path,
        bytes=backup.bytes,
        problem=problem,
    )
