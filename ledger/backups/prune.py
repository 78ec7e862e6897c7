"""Old backups: which may go, and letting them go.

Invariant: the newest backup of a tenant that reads through is never deleted, nor
anything outside the backup folder. What is deleted was recorded as pruned before,
so that no command chooses it in between; a prune that was killed is ended by the next.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from ledger import events as ev
from ledger.backups.check import check_backup
from ledger.engines.base import Target
from ledger.errors import BackupError, ClaimHeldError, ConflictError, LedgerError
from ledger.runner.context import RunContext
from ledger.runner.kept import KeptBackup
from ledger.runner.outcome import Outcome, failure

ATTEMPTS = 20


class Pruning(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune would delete of one tenant. `kept` is the newest backup that reads through.

    `leftovers` are files of backups that a killed prune had recorded already.
    `problem` says why nothing is deleted.
    """

    tenant: str
    delete: tuple[KeptBackup, ...] = ()
    kept: KeptBackup | None = None
    leftovers: tuple[KeptBackup, ...] = ()
    problem: str = ""


def prunable(
    backups: Sequence[KeptBackup], *, keep: int, before: str | None, protected: int
) -> tuple[KeptBackup, ...]:
    """Of one tenant's backups, oldest first: those beyond the newest `keep`, from before a time.

    `protected` is the seq of the one that stays whatever was asked.
    """
    beyond = backups[: max(0, len(backups) - keep)]
    return tuple(
        backup
        for backup in beyond
        if backup.seq != protected and (before is None or backup.at < before)
    )


async def plan_tenant(
    backups: Sequence[KeptBackup], tenant: str, *, keep: int, before: str | None
) -> Pruning:
    """Decide for one tenant; `backups` are all that were ever recorded, oldest first."""
    kept = [backup for backup in backups if not backup.pruned]
    leftovers = tuple([backup for backup in backups if backup.pruned and await _is_there(backup)])
    asked = prunable(kept, keep=keep, before=before, protected=0)
    if not asked:
        return Pruning(tenant=tenant, leftovers=leftovers)
    for newest in reversed(kept):
        if (await check_backup(newest)).sound:
            return Pruning(
                tenant=tenant,
                delete=prunable(kept, keep=keep, before=before, protected=newest.seq),
                kept=newest,
                leftovers=leftovers,
            )
    return Pruning(
        tenant=tenant,
        leftovers=leftovers,
        problem="none of its backups reads through, so that none is deleted",
    )


async def _is_there(kept: KeptBackup) -> bool:
    return await anyio.Path(kept.backup.path).is_file()


async def prune_tenant(ctx: RunContext, target: Target, pruning: Pruning) -> Outcome:
    """Record what goes, then delete it. A tenant that a run works on is left alone."""
    try:
        if pruning.problem:
            raise BackupError(
                pruning.problem,
                tenant=target.name,
                hint=f"`ledger backups verify --tenant {target.name}` says what is wrong with each.",
            )
        going = (*pruning.delete, *pruning.leftovers)
        folder = ctx.settings.backups.resolve()
        for backup in going:
            _require_inside(backup, folder, target)
        await _record(ctx, target, pruning.delete)
        for backup in going:
            await _unlink(backup, target)
    except LedgerError as error:
        return failure(target.name, error)
    freed = sum(backup.backup.bytes for backup in going)
    count = len(going)
    return Outcome(
        tenant=target.name,
        result="pruned",
        message=f"{count} backup{'' if count == 1 else 's'} deleted, {freed} bytes",
    )


def _require_inside(kept: KeptBackup, folder: Path, target: Target) -> None:
    path = Path(kept.backup.path)
    if not path.parent.resolve().is_relative_to(folder):
        raise BackupError(
            f"the backup {path} is not in the backup folder {folder}, and is not deleted",
            tenant=target.name,
            hint="Set `backups` to the folder it is in, or delete it by hand.",
        )


async def _record(ctx: RunContext, target: Target, delete: Sequence[KeptBackup]) -> None:
    """Append at the version at which no run works on the tenant. Raises ClaimHeldError."""
    events = [
        ev.BackupPruned(
            backup_seq=kept.seq,
            path=kept.backup.path,
            bytes=kept.backup.bytes,
            sha256=kept.backup.sha256,
            reason=ctx.reason,
        )
        for kept in delete
    ]
    for _ in range(ATTEMPTS if events else 0):
        state = ctx.state(target.name)
        if ctx.fleet.lock(state, await ctx.store.now()) is not None:
            break
        try:
            await ctx.record(target.name, events)
            return
        except ConflictError:
            await ctx.refresh(target.name)
    if events:
        raise ClaimHeldError(
            "another run works on it; none of its backups was deleted",
            tenant=target.name,
            hint="Run the same command again when that run has ended.",
        )


async def _unlink(kept: KeptBackup, target: Target) -> None:
    def remove(path: Path) -> None:
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
        except FileNotFoundError:
            return

    try:
        await anyio.to_thread.run_sync(remove, Path(kept.backup.path))
    except OSError as error:
        raise BackupError(
            f"{kept.backup.path} cannot be deleted: {error.strerror or error}",
            tenant=target.name,
            hint="Give this account the right to delete it, and run the command again; it is recorded as pruned.",
        ) from error
