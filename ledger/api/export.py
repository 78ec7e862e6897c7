"""The state of tenants in the shape of a version.json, for tools that read one.

Invariant: what is printed can stand beside the migrations as their version.json:
read back, it says the same of them, and its state is not believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import msgspec

from ledger import events as ev
from ledger.api.status import read_status
from ledger.calls.opened import Look
from ledger.engines.base import Target
from ledger.events import MigrationRef
from ledger.projections import TenantState
from ledger.scripts.model import Migration, MigrationSet
from ledger.stores.base import Filter
from ledger.stores.store import Store

JOINING = ("completed", "baselined", "imported", "reset", "restored", "drift_detected")
"""The events with which a migration may join the applied set."""


class _Joined(msgspec.Struct, frozen=True, kw_only=True):
    """When, by whom and in how long a migration was applied."""

    at: str
    actor: str
    duration_us: int = 0


_Key = tuple[str, str, str]


async def version_documents(look: Look) -> list[dict[str, Any]]:
    """One document for each chosen tenant and set that it follows."""
    store, fleet, chosen = look.ready.store, look.fleet, look.chosen
    joined = await _joined(store)
    status = await read_status(look)
    rows = {(row.tenant, row.set): row for row in status.tenants}
    documents = []
    for target in chosen.targets:
        state = fleet.tenant(target.name)
        for one_set in chosen.catalogues[target.name].sets:
            row = rows[target.name, one_set.name]
            settings = {"auto_migrate_on_activation": one_set.auto_migrate}
            documents.append(
                {
                    "tenant": target.name,
                    "set": one_set.name,
                    "current_version": row.version,
                    "target_version": row.target,
                    "status": row.state,
                    "last_updated": row.last_event_at,
                    "last_check": row.last_validated_at,
                    "locked": row.lock is not None,
                    "lock_time": row.lock.since if row.lock is not None else None,
                    **{name: value for name, value in settings.items() if value is not None},
                    "migrations": _migrations(target, one_set, state, joined),
                }
            )
    return documents


def _migrations(
    target: Target, one_set: MigrationSet, state: TenantState, joined: dict[_Key, _Joined]
) -> dict[str, dict[str, Any]]:
    """Every migration of the folder, and what is applied of the set, or in part, although its file is gone."""
    applied = {ref.version: ref for ref in state.applied if ref.set == one_set.name}
    halves = {half.ref.version: half for half in state.halves if half.ref.set == one_set.name}
    found: dict[str, dict[str, Any]] = {}
    for migration in one_set.migrations:
        entry = _described(migration)
        ref = applied.pop(migration.ref.version, None)
        found[migration.ref.version] = entry | _state(target, ref, joined)
    for version, ref in applied.items():
        said = {"version": version, "name": ref.name}
        found[version] = said | _state(target, ref, joined)
    for version, half in halves.items():
        entry = found.setdefault(
            version, {"version": version, "name": half.ref.name} | _state(target, None, joined)
        )
        entry["steps_landed"] = list(half.applied)
    return found


def _described(migration: Migration) -> dict[str, Any]:
    manifest = migration.manifest
    entry: dict[str, Any] = {
        "version": migration.ref.version,
        "name": migration.ref.name,
        "description": manifest.description,
        "file": PurePath(migration.path).name,
        "dependencies": [
            version if name == migration.ref.set else f"{name}/{version}"
            for name, version in migration.depends
        ],
        "checksum": f"{migration.ref.algorithm}:{migration.ref.checksum}",
        "tables_created": list(manifest.tables_created),
        "views_created": list(manifest.views_created),
    }
    further = {
        "estimated_time_seconds": manifest.estimated_time_seconds,
        "requires_backup": manifest.requires_backup,
        "migration_timeout_seconds": manifest.timeout_seconds,
    }
    return entry | {name: value for name, value in further.items() if value is not None}


def _state(target: Target, ref: MigrationRef | None, joined: dict[_Key, _Joined]) -> dict[str, Any]:
    if ref is None:
        return {"applied": False, "applied_at": None}
    known = joined.get((target.name, ref.set, ref.version))
    if known is None:
        return {"applied": True, "applied_at": None}
    return {
        "applied": True,
        "applied_at": known.at,
        "applied_by": known.actor,
        "execution_time": known.duration_us / 1e6,
    }


async def _joined(store: Store) -> dict[_Key, _Joined]:
    """When each migration last joined a tenant's applied set; a restore does not make it later."""
    found: dict[_Key, _Joined] = {}
    async for rows in store.read(Filter(types=JOINING)):
        for row in rows:
            event = row.data
            if row.tenant is None:
                continue
            again = isinstance(event, ev.Completed | ev.Baselined | ev.Imported)
            for ref in _refs(event):
                key = (row.tenant, ref.set, ref.version)
                if again or key not in found:
                    found[key] = _Joined(
                        at=row.at,
                        actor=row.actor,
                        duration_us=event.duration_us if isinstance(event, ev.Completed) else 0,
                    )
    return found


def _refs(event: ev.AnyEvent) -> Iterable[MigrationRef]:
    if isinstance(event, ev.Completed):
        return (event.migration,)
    if isinstance(event, ev.Baselined | ev.Imported):
        return event.migrations
    if isinstance(event, ev.Reset | ev.Restored | ev.DriftDetected):
        return event.applied
    return ()
