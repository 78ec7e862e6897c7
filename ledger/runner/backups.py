"""Taking a tenant's backup inside a claim, and the folder that backups live in."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import anyio

from ledger import events as ev
from ledger.engines.base import Session, Target
from ledger.errors import BackupError, ConfigError
from ledger.runner.context import RunContext
from ledger.scripts.model import Migration
from ledger.scripts.statements import classify

SUFFIXES = {"sqlite": ".db", "mysql": ".sql.zst"}

UNFINISHED = (".partial", ".tmp")
"""How the engines' hidden files end that are not a whole backup yet."""


def prepare_folder(folder: Path) -> None:
    """Make the backup folder (0700), or hold an existing one to it.

    Raises ConfigError for a symbolic link, for a folder of somebody else, and
    for one that others can read or write: backups hold whole databases.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"the backup folder {folder} cannot be made: {error.strerror}",
            hint="Set `backups` to a folder that can be written.",
        ) from error
    if not stat.S_ISDIR(info.st_mode):
        raise ConfigError(
            f"the backup folder {folder} is not a folder of its own (a symbolic link, or a file)",
            hint="Set `backups` to the folder itself.",
        )
    if info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise ConfigError(
            f"the backup folder {folder} can be read by others (mode {info.st_mode & 0o777:o})",
            hint=f"chmod 700 {folder}",
        )


def wanted(ctx: RunContext, migration: Migration, target: Target) -> bool:
    """Whether the policy asks for a backup before this migration.

    `auto`: when its manifest requires one, or a step destroys data.
    """
    policy = ctx.settings.backup
    if policy != "auto":
        return policy == "always"
    if migration.manifest.requires_backup is not None:
        return migration.manifest.requires_backup
    return any(classify(step.sql, target.engine).destructive for step in migration.up.steps)


async def take(
    ctx: RunContext, target: Target, session: Session, *, label: str, now: datetime
) -> ev.BackupCreated:
    """Back the tenant up and record it under the claim; durable before this returns.

    What a killed run left half-written is removed: under the claim nobody else writes there.
    """
    folder = ctx.settings.backups / target.name
    await anyio.to_thread.run_sync(_make_private, folder)
    stamp = now.strftime("%Y%m%dT%H%M%S%fZ")
    path = folder / f"{target.name}_{label}_{stamp}{SUFFIXES[target.engine]}"
    began = time.perf_counter_ns()
    backup = await session.backup(path, deadline_seconds=ctx.settings.backup_seconds)
    created = ev.BackupCreated(
        path=str(backup.path),
        bytes=backup.bytes,
        sha256=backup.sha256,
        format=backup.format,
        covers=backup.covers,
        fingerprint=backup.fingerprint,
        applied=ctx.state(target.name).applied,
        duration_us=(time.perf_counter_ns() - began) // 1000,
    )
    await ctx.record_claimed(target.name, [created])
    ctx.watcher.note(target.name, f"backup {backup.path}")
    return created


def _make_private(folder: Path) -> None:
    """A tenant's own folder. Raises BackupError if somebody has put a link in its place."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise BackupError(
            f"the backup folder {folder} is not a folder of its own (a symbolic link, or a file)",
            hint="Remove it; the folder is made anew.",
        )
    for unfinished in folder.glob(".*"):
        if unfinished.name.endswith(UNFINISHED):
            unfinished.unlink(missing_ok=True)
