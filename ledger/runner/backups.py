"""Taking a tenant's backup inside a claim, and the folder that backups live in."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ledger import events as ev
from ledger.dialects import DialectName, dialect_of
from ledger.drivers.folders import sync_folder
from ledger.engines.base import Session, Target
from ledger.engines.checks import shortened
from ledger.engines.kinds import KINDS
from ledger.errors import BackupError, ConfigError, FencedError
from ledger.runner.context import RunContext
from ledger.runner.facts import backup_created, elapsed_us
from ledger.scripts.model import Migration
from ledger.stores.base import Filter

if TYPE_CHECKING:
    from ledger.requests import BackupPolicy

MOST_NAME_BYTES = 120
"""Of a backup's file name: what is written beside it has a longer one, of which a file system takes
255, and SQLite opens no file whose whole path has more than 512."""

UNFINISHED = (".partial", ".tmp")
"""How the engines' hidden files end that are not a whole backup yet."""

UNRECORDED = ".unrecorded"
"""How the hidden, empty file `.NAME.RUN.unrecorded` ends: RUN has not yet recorded the backup NAME."""


def prepare_folder(ctx: RunContext) -> None:
    """Make the backup folder (0700), or hold an existing one to it.

    Raises ConfigError for a symbolic link, for a folder of another user, and
    for one that others can read or write: backups hold whole databases.
    """
    folder = ctx.settings.backups
    try:
        make_folder(folder, ctx.durable)
        info = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"the backup folder {folder} cannot be made: {error.strerror}",
            hint="Set `backups` to a folder that can be written.",
        ) from error
    if (unsafe := unsafe_folder(folder, info)) is not None:
        what, hint = unsafe
        raise ConfigError(f"the backup folder {folder} {what}", hint=hint)


def unsafe_folder(folder: Path, info: os.stat_result) -> tuple[str, str] | None:
    """What is wrong with a backup folder that is there, and what to do; None for a safe one."""
    if not stat.S_ISDIR(info.st_mode):
        what = "is not a folder of its own (a symbolic link, or a file)"
        return what, "Set `backups` to the folder itself."
    if info.st_uid != os.geteuid() or info.st_mode & 0o077:
        return f"can be read by others (mode {info.st_mode & 0o777:o})", f"chmod 700 {folder}"
    return None


def make_folder(folder: Path, durable: set[Path]) -> None:
    """Make a folder (0700), durably, with those above it; one that is there keeps its mode.

    A file is no safer from a power loss than the names of the folders that it lies in. `durable`
    are those whose names this run has synced: one that was there before may have been made by a
    run that was killed before it could do so. Raises OSError.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)
    if not missing and folder not in durable:
        # Who may not look into the folder above it has not made this one either.
        with suppress(PermissionError):
            sync_folder(folder.parent)
    durable.add(folder)


def wanted(ctx: RunContext, migration: Migration, target: Target, *, taken: bool) -> bool:
    """Whether the policy asks for a backup before this migration, where this run has `taken` one
    before an earlier one."""
    return (not taken or ctx.settings.backup == "each") and asked(
        ctx.settings.backup, migration, target.engine
    )


def asked(policy: BackupPolicy, migration: Migration, dialect: DialectName) -> bool:
    """Whether a migration by itself asks for a backup.

    `auto`: when its manifest requires one, or a step destroys data.
    """
    if policy != "auto":
        return policy != "never"
    if migration.manifest.requires_backup is not None:
        return migration.manifest.requires_backup
    return any(
        dialect_of(dialect).classify(step.readable).destructive for step in migration.up.steps
    )


class Announced(NamedTuple):
    """A backup that is about to be written to `path`; `note` stays until it is recorded."""

    path: Path
    note: Path

    def recorded(self) -> None:
        """The ledger has it."""
        _remove(self.note)

    def withdraw(self) -> None:
        """It was not made, or will not be recorded."""
        _remove(self.path, self.note)


async def announce(
    ctx: RunContext, wanted: Sequence[tuple[Target, str]], *, now: datetime
) -> list[Announced | BackupError]:
    """Make room for backups of claimed tenants (each with its label), in one hop to a thread.

    What a killed run left is removed: half-written files, since under the claim no other run
    writes there, and whole ones that it had no time to record.
    """
    stamp = now.strftime("%Y%m%dT%H%M%S%fZ")
    planned: list[Announced] = []
    for target, label in wanted:
        folder = ctx.settings.backups / target.name
        path = folder / _file_name(
            target.name, f"_{label}_{stamp}{KINDS[target.engine].backup_suffix}"
        )
        planned.append(Announced(path, folder / f".{path.name}.{ctx.run}{UNRECORDED}"))
    found = await anyio.to_thread.run_sync(_prepare_all, ctx.settings.backups, planned, ctx.durable)
    made: list[Announced | BackupError] = []
    for (target, _), announced, left in zip(wanted, planned, found, strict=True):
        if isinstance(left, BackupError):
            left.tenant = target.name
            made.append(left)
            continue
        if left:
            await _remove_unrecorded(ctx, target, left)
        made.append(announced)
    return made


def _file_name(tenant: str, rest: str) -> str:
    """The tenant's name, as much of it as there is room for, and the rest.

    Its folder has the whole name, so that none is mistaken for another's.
    """
    room = MOST_NAME_BYTES - len(rest.encode())
    return tenant.encode()[: max(0, room)].decode(errors="ignore") + rest


def _prepare_all(
    folder: Path, planned: Sequence[Announced], durable: set[Path]
) -> list[list[Path] | BackupError]:
    """Each one's `_prepare`; their folders are made durable together."""
    folders = {announced.path.parent for announced in planned}
    new = any(folder not in durable or not os.path.lexists(folder) for folder in folders)
    found = [_try_prepare(announced) for announced in planned]
    if new:
        try:
            sync_folder(folder)
        except OSError as error:
            return [_unwritable(announced, error) for announced in planned]
        durable.update(folders)
    return found


def _try_prepare(announced: Announced) -> list[Path] | BackupError:
    try:
        return _prepare(announced.path.parent, announced.path, announced.note)
    except BackupError as error:
        return error
    except OSError as error:
        return _unwritable(announced, error)


def _unwritable(announced: Announced, error: OSError) -> BackupError:
    return BackupError(
        f"the backup cannot be written to {announced.path}: {error.strerror or error}",
        hint="Check the folder `backups`, its permissions and its free space.",
    )


async def take(
    ctx: RunContext,
    target: Target,
    session: Session,
    *,
    label: str,
    now: datetime,
    pending: Sequence[Migration] = (),
) -> ev.BackupCreated:
    """Back the tenant up and record it under the claim; durable before this returns.

    `pending` is what is about to be applied: what it changes is in the backup.
    """
    (announced,) = await announce(ctx, [(target, label)], now=now)
    if isinstance(announced, BackupError):
        raise announced
    began = time.perf_counter_ns()
    try:
        backup = await session.backup(
            announced.path,
            deadline_seconds=ctx.settings.backup_seconds,
            pending=[migration.id for migration in pending],
        )
    except BaseException:
        announced.withdraw()
        raise
    created = backup_created(backup, ctx.state(target.name).applied, duration_us=elapsed_us(began))
    try:
        await ctx.record_claimed(target.name, [created])
    except FencedError:
        # It will not be recorded. After another error it may be recorded: the next backup looks.
        announced.withdraw()
        raise
    announced.recorded()
    ctx.watcher.backed_up(target.name, str(backup.path))
    return created


def warnings_of(created: ev.BackupCreated, target: Target) -> list[str]:
    """What a person should know of a backup that does not hold everything."""
    notes = []
    if created.left_out:
        notes.append(
            f"the backup leaves out {shortened(created.left_out)}: nothing says whether they are this"
            f" tenant's (tables and neighbours of {target.source} would)"
        )
    if created.broken:
        notes.append(
            f"of {shortened(created.broken)} the backup holds the definition alone: what the view refers"
            " to is not there, or may not be read"
        )
    return notes


def _prepare(folder: Path, path: Path, note: Path) -> list[Path]:
    """Make a tenant's own folder and write the note; the notes that killed runs left are returned.

    Raises BackupError if a link is in the folder's place, OSError.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise BackupError(
            f"the backup folder {folder} is not a folder of its own (a symbolic link, or a file)",
            hint="Remove it; the folder is made anew.",
        )
    left = []
    for hidden in folder.glob(".*"):
        if hidden.name.endswith(UNFINISHED):
            hidden.unlink(missing_ok=True)
        elif hidden.name.endswith(UNRECORDED):
            left.append(hidden)
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "a file of that name is there already")
    os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return left


async def _remove_unrecorded(ctx: RunContext, target: Target, notes: Sequence[Path]) -> None:
    """Remove the backups that earlier runs of this ledger noted and never recorded, and the notes.

    Under the claim none of them can be recorded any more. A run that this ledger does not know
    is another ledger's, or the ledger was restored from an older copy: its files stay.
    """
    runs: set[str] = set()
    recorded: set[str] = set()
    where = Filter(stream=f"tenant/{target.name}", types=("started", "backup_created"))
    async for rows in ctx.store.read(where):
        runs.update(row.run for row in rows)
        recorded.update(
            Path(row.data.path).name for row in rows if isinstance(row.data, ev.BackupCreated)
        )
    for note in notes:
        name, _, run = note.name.removeprefix(".").removesuffix(UNRECORDED).rpartition(".")
        if run in runs:
            if name not in recorded:
                _remove(note.with_name(name))
            _remove(note)


def _remove(*paths: Path) -> None:
    """Some files of ours; what cannot be removed now is left to the next backup."""
    for path in paths:
        with suppress(OSError):
            path.unlink()
