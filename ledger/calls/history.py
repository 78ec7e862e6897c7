"""Events as they were recorded, chosen by tenant, time, run, actor, type, migration, step or error.

Invariant: what follows comes in seq order, each event once and none left out: seq is gapless and in
commit order, so that all up to a head that was read are there.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import anyio
import msgspec

from ledger import events as ev
from ledger.errors import UnknownTenantError, UsageError
from ledger.events import Recorded
from ledger.projections import FleetState
from ledger.requests import ReadHistory
from ledger.requests.base import patterns
from ledger.stores.base import PAGE_EVENTS, Filter
from ledger.stores.store import Store


def history_filter(request: ReadHistory) -> Filter:
    """What the store is asked for. Raises UsageError for a type that no event has, and for what is no time."""
    tenant = request.tenant
    exact = tenant is not None and not any(char in tenant for char in "*?[")
    return Filter(
        stream=f"tenant/{tenant}" if exact else None,
        tenant=None if exact else tenant,
        types=_types(request),
        run=request.run,
        actor=request.actor,
        since=request.since,
        until=request.until,
        migration=request.migration,
        after_seq=request.after or 0,
    )


STEP_TYPES: Final = ("step_started", "step_applied", "step_skipped", "failed", "resolved")
ERROR_TYPES: Final = ("failed", "tenant_skipped", "validated")


def _types(request: ReadHistory) -> tuple[str, ...]:
    """The types that are asked for, as far as they have what is asked of them."""
    kinds = () if request.type is None else tuple(patterns(request.type))
    for kind in kinds:
        if kind not in ev.EVENT_TYPES:
            raise UsageError(
                f"no event has the type {kind!r}", hint=f"The types: {', '.join(ev.EVENT_TYPES)}."
            )
    for having, word, asked in (
        (STEP_TYPES, "step", request.step),
        (ERROR_TYPES, "error", request.error),
    ):
        if asked is None:
            continue
        left = tuple(kind for kind in kinds or having if kind in having)
        if not left:
            raise UsageError(
                f"no event of the type {' or '.join(kinds)} has a {word}",
                hint=f"Those that have: {', '.join(having)}.",
            )
        kinds = left
    return kinds


async def read_history(
    store: Store, where: Filter, request: ReadHistory
) -> AsyncGenerator[Recorded]:
    """Events in seq order; with `limit` the newest that many. With `follow` it goes on for ever.

    Raises UsageError for a seq `after` the ledger's end.
    """
    head = await store.head()
    if where.after_seq > head.seq:
        raise UsageError(
            f"the ledger ends at seq {head.seq}, before the event {where.after_seq}",
            hint="It is another ledger, or an older copy: compare with `ledger export --head`.",
        )
    until = msgspec.structs.replace(where, until_seq=head.seq)
    if request.limit is not None:
        for row in await _newest(store, until, request, request.limit):
            yield row
    else:
        async with aclosing(store.read(until)) as batches:
            async for rows in batches:
                for row in rows:
                    if _wanted(row, request):
                        yield row
    if request.follow:
        async with aclosing(_follow(store, where, request, head.seq)) as coming:
            async for row in coming:
                yield row


async def _newest(store: Store, where: Filter, request: ReadHistory, limit: int) -> list[Recorded]:
    """Read backwards, as far as it takes, in pages that grow where few of them are wanted."""
    at_once = limit
    found: list[Recorded] = []
    while len(found) < limit and where.until_seq != where.after_seq:
        page: list[Recorded] = []
        async for rows in store.read(msgspec.structs.replace(where, last=at_once)):
            page += rows
        found = [row for row in page if _wanted(row, request)] + found
        if len(page) < at_once:
            break
        where = msgspec.structs.replace(where, until_seq=page[0].seq - 1)
        at_once = max(at_once, min(2 * at_once, PAGE_EVENTS))
    return found[-limit:]


async def _follow(
    store: Store, where: Filter, request: ReadHistory, after: int
) -> AsyncGenerator[Recorded]:
    while True:
        await anyio.sleep(FOLLOW_SECONDS)
        head = await store.head()
        if head.seq < after:
            raise UsageError(
                f"the ledger ends at seq {head.seq} now, before the event {after} that was read",
                hint="It was replaced by an older copy: find out by whom, and read it from the start.",
            )
        coming = msgspec.structs.replace(where, after_seq=after, until_seq=head.seq)
        if head.seq > after:
            async with aclosing(store.read(coming)) as batches:
                async for rows in batches:
                    for row in rows:
                        if _wanted(row, request):
                            yield row
        after = head.seq


FOLLOW_SECONDS: Final = 0.5
"""How often is asked whether something has come: one small query."""


def _wanted(row: Recorded, request: ReadHistory) -> bool:
    """Whether the event is what no condition of the query says."""
    return (request.step is None or getattr(row.data, "step", None) == request.step) and (
        request.error is None or _went_wrong(row.data, request.error.casefold())
    )


def _went_wrong(event: ev.AnyEvent, text: str) -> bool:
    """Whether the text is in the code or the words of what went wrong."""
    if isinstance(event, ev.Validated):
        said = [f"{check.name} {check.detail}" for check in event.checks if not check.passed]
    elif isinstance(event, ev.Failed):
        said = [event.error, event.message, event.database_code]
    elif isinstance(event, ev.TenantSkipped):
        said = [event.reason, event.detail]
    else:
        said = []
    return any(text in one.casefold() for one in said)


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
