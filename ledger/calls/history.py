"""Events as they were recorded, chosen by tenant, time, run, actor, type or migration."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ledger import events as ev
from ledger.errors import UnknownTenantError, UsageError
from ledger.events import Recorded
from ledger.projections import FleetState
from ledger.requests import ReadHistory
from ledger.stores.base import Filter
from ledger.stores.store import Store


def history_filter(request: ReadHistory) -> Filter:
    """What the store is asked for. Raises UsageError for a type that no event has, and for what is no time."""
    tenant, kind = request.tenant, request.type
    if kind is not None and kind not in ev.EVENT_TYPES:
        raise UsageError(
            f"no event has the type {kind!r}", hint=f"The types: {', '.join(ev.EVENT_TYPES)}."
        )
    exact = tenant is not None and not any(char in tenant for char in "*?[")
    return Filter(
        stream=f"tenant/{tenant}" if exact else None,
        tenant=None if exact else tenant,
        types=(kind,) if kind else (),
        run=request.run,
        actor=request.actor,
        since=request.since,
        until=request.until,
        migration=request.migration,
        last=request.limit,
    )


async def read_history(store: Store, where: Filter) -> AsyncGenerator[Recorded]:
    """Events in seq order."""
    async with aclosing(store.read(where)) as batches:
        async for rows in batches:
            for row in rows:
                yield row


def require_history(fleet: FleetState, pattern: str) -> None:
    """Raises UnknownTenantError if the ledger has never heard of a tenant that matches."""
    if not any(fnmatch.fnmatchcase(name, pattern) for name in fleet.tenants):
        near = difflib.get_close_matches(pattern, fleet.tenants, n=3)
        raise UnknownTenantError(
            f"the ledger has no event of a tenant {pattern!r}",
            hint=f"Did you mean {', '.join(near)}?"
            if near
            else "`ledger status` lists the tenants.",
        )


def concerns(row: Recorded, migration: str) -> bool:
    """Whether an event speaks of VERSION or SET/VERSION."""
    event = row.data
    ref = getattr(event, "migration", None)
    set_name = getattr(event, "set", None) or getattr(ref, "set", None)
    version = getattr(event, "version", None) or getattr(ref, "version", None)
    return migration in (version, f"{set_name}/{version}")
