"""What a tenant should have been at earlier times, read from its own events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger import events as ev
from ledger.events import MigrationRef
from ledger.projections import FleetState
from ledger.runner.context import RunContext
from ledger.stores.base import Filter


class Past(NamedTuple):
    """What a tenant should have been from the event `seq` on, with what was applied then."""

    seq: int
    applied: frozenset[tuple[str, str]]
    expected: str
    accepted: tuple[str, str] | None = None


class Then(NamedTuple):
    """What a tenant should have been when it last stood somewhere. `accepted` since: what it should have
    been, and what it was taken for.
    """

    expected: str = ""
    accepted: tuple[tuple[str, str], ...] = ()


async def past(ctx: RunContext, tenant: str) -> list[Past]:
    """What the tenant should have been after each of its events, oldest first."""
    fleet = FleetState()
    found: list[Past] = []
    async for rows in ctx.store.read(Filter(stream=f"tenant/{tenant}")):
        for row in rows:
            fleet.fold([row])
            state, event = fleet.tenant(tenant), row.data
            accepted = None
            if isinstance(event, ev.DriftAccepted):
                accepted = (event.expected, event.found)
            found.append(Past(row.seq, ids(state.applied), state.expected, accepted))
    return found


def last_with(
    events: Sequence[Past], applied: frozenset[tuple[str, str]], *, until: int | None = None
) -> Then:
    """What the tenant should have been when it last had that applied, up to the event `until`; or nothing."""
    accepted: list[tuple[str, str]] = []
    for event in reversed(events):
        if event.applied == applied and (until is None or event.seq <= until):
            return Then(event.expected, tuple(reversed(accepted)))
        if event.accepted is not None:
            accepted.append(event.accepted)
    return Then()


def ids(refs: Sequence[MigrationRef]) -> frozenset[tuple[str, str]]:
    """Set and version of each."""
    return frozenset(ref.key for ref in refs)
