"""What the ledger keeps of the past: backups, and the texts of migrations that ran."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ledger import events as ev
from ledger.audit import BadText
from ledger.dialects.steps import DialectName, sha256_hex
from ledger.errors import ChainBrokenError, ScriptError
from ledger.events import MigrationRef
from ledger.plan import Catalogue
from ledger.runner.context import RunContext
from ledger.runner.references import CHANGED_HINT
from ledger.scripts.contents import from_contents
from ledger.scripts.model import Migration
from ledger.stores.base import Filter
from ledger.stores.store import Store

MISSING_HINT: Final = (
    "Run `ledger verify --rebuild`, which takes it from the migration's file if that is as it was when it"
    " ran. Otherwise put back a copy of the ledger."
)


class KeptBackup(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded backup: `seq` and `at` are its event's; `pruned` says that it is gone since."""

    seq: int
    at: str
    tenant: str
    run: str
    backup: ev.BackupCreated
    pruned: bool = False


async def kept_backups(store: Store, tenants: Iterable[str]) -> list[KeptBackup]:
    """All recorded backups of these tenants that were not pruned, oldest first."""
    return [backup for backup in await all_backups(store, tenants) if not backup.pruned]


async def all_backups(store: Store, tenants: Iterable[str]) -> list[KeptBackup]:
    """All recorded backups of these tenants, oldest first, also those that were pruned since.

    Reads the events of these tenants alone.
    """
    found = [backup for tenant in tenants for backup in await _backups_of(store, tenant)]
    return sorted(found, key=lambda backup: backup.seq)


async def _backups_of(store: Store, tenant: str) -> list[KeptBackup]:
    found: dict[int, KeptBackup] = {}
    where = Filter(stream=f"tenant/{tenant}", types=("backup_created", "backup_pruned"))
    async for rows in store.read(where):
        for row in rows:
            event = row.data
            if isinstance(event, ev.BackupCreated) and row.tenant is not None:
                found[row.seq] = KeptBackup(
                    seq=row.seq, at=row.at, tenant=row.tenant, run=row.run, backup=event
                )
            elif isinstance(event, ev.BackupPruned) and event.backup_seq in found:
                found[event.backup_seq] = msgspec.structs.replace(
                    found[event.backup_seq], pruned=True
                )
    return list(found.values())


def backup_before(backups: list[KeptBackup], ref: MigrationRef) -> KeptBackup | None:
    """The newest backup in which `ref` is not applied."""
    lacking = [
        backup for backup in backups if all(kept.key != ref.key for kept in backup.backup.applied)
    ]
    return lacking[-1] if lacking else None


async def kept_migration(
    ctx: RunContext, ref: MigrationRef, dialect: DialectName, catalogue: Catalogue
) -> Migration:
    """The migration as it ran, from the ledger's texts; from the folder if its event names none.

    Parsed once a run. Raises ScriptError if neither has it, ChainBrokenError if a kept text
    is missing or is not what its hash says: no file is taken in its place.
    """
    known = ctx.parsed.get((ref, dialect))
    if known is None:
        known = ctx.parsed[ref, dialect] = await _kept_migration(ctx, ref, dialect, catalogue)
    return known


async def _kept_migration(
    ctx: RunContext, ref: MigrationRef, dialect: DialectName, catalogue: Catalogue
) -> Migration:
    if ref.sources:
        contents = {sha: await _text(ctx.store, ref, part, sha) for part, sha in ref.sources}
        return _with_python(from_contents(ref, contents, dialect), catalogue)
    found = catalogue.find(ref.id)
    if found is not None:
        return found
    raise ScriptError(
        "is applied, but its text is neither in the ledger nor in the folder",
        migration=ref.id,
        hint="Put the file back into the folder.",
    )


async def _text(store: Store, ref: MigrationRef, part: str, sha256: str) -> str:
    return await kept_text(store, sha256, part, migration=ref.id)


async def kept_text(store: Store, sha256: str, part: str, *, migration: str = "") -> str:
    """A text that an event names. Raises ChainBrokenError if it is missing, or was changed."""
    text = await store.script(sha256)
    bad = BadText(sha256=sha256, migration=migration, part=part)
    if text is None:
        raise ChainBrokenError(bad.what, seq=0, hint=MISSING_HINT)
    found = sha256_hex(text)
    if found != sha256:
        raise ChainBrokenError(
            msgspec.structs.replace(bad, found=found).what, seq=0, hint=CHANGED_HINT
        )
    return text


def texts_of(refs: Iterable[MigrationRef], catalogue: Catalogue) -> dict[str, str]:
    """The texts of those of `refs` that the folder has exactly as they ran, by SHA-256."""
    wanted = {sha256 for ref in refs for _, sha256 in ref.sources}
    return {
        sha256: text
        for migration in catalogue.order
        for sha256, text in migration.contents.items()
        if sha256 in wanted
    }


def _with_python(migration: Migration, catalogue: Catalogue) -> Migration:
    """Python is not run from a text in a database: the module comes from the folder, if it is the one that ran."""
    if migration.python is not None or not migration.path.endswith(".py"):
        return migration
    found = catalogue.find(migration.id)
    same = found is not None and found.ref.checksum == migration.ref.checksum
    return found if found is not None and same else migration
