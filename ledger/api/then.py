"""Where the fleet stood at an earlier time: by its events, its tenants and its migrations of then.

Invariant: nothing of today is taken for something of then where a run recorded how it was; the
sources and the folders are not asked.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ledger.api.status import Status, build_status
from ledger.calls.discovery import Found, exact_names
from ledger.calls.opened import Opened
from ledger.calls.seen import seen_fleet
from ledger.calls.tenants import Chosen, matches_any, scope_of
from ledger.dialects.steps import DialectName
from ledger.drivers.url import NOWHERE
from ledger.engines.base import Target
from ledger.errors import UnknownTenantError
from ledger.fleet.recorded import UNKNOWN, RecordedFleet, RecordedSet, catalogue_of
from ledger.fleet.state import replay_fleet
from ledger.plan import Catalogue, standing
from ledger.projections import FleetState, TenantState, parse_time
from ledger.stores.base import Filter, Head
from ledger.stores.filters import moment_text

Choose = Callable[[Opened, Sequence[str]], Awaitable[Chosen]]


async def status_then(ready: Opened, names: Sequence[str], at: str, *, choose: Choose) -> Status:
    """The status as it was at the time `at`, of the tenants that `names` mean.

    Raises UnknownTenantError, ChainBrokenError.
    """
    moment = moment_text(at)
    fleet = await replay_fleet(ready.store, exact_names(names), until=moment)
    return await status_of(ready, fleet, names, moment, choose=choose)


async def status_of(
    ready: Opened, fleet: FleetState, names: Sequence[str], moment: str, *, choose: Choose
) -> Status:
    """The status by a `fleet` that holds the events before the `moment`.

    Where no run had recorded the fleet by then, `choose` gives today's; those of its tenants count
    that had events. Raises UnknownTenantError, ChainBrokenError.
    """
    store = ready.store
    recorded = await _recorded(ready, fleet, moment)
    options = ready.options()
    if recorded is None:
        today = await choose(ready, names)
        targets = tuple(target for target in today.targets if fleet.tenant(target.name).version)
        chosen = msgspec.structs.replace(today, targets=targets, found=Found(targets=targets))
    else:
        options = msgspec.structs.replace(options, out_of_order=recorded.out_of_order)
        chosen = _chosen(ready, fleet, recorded, names)
    status = build_status(
        fleet,
        chosen,
        gone=_gone(fleet, recorded, names),
        head=await _head(ready, fleet, moment),
        url=store.url,
        now=parse_time(moment),
        options=msgspec.structs.replace(options, strict=False),
        past=True,
    )
    return msgspec.structs.replace(status, basis="today" if recorded is None else "recorded")


async def _recorded(ready: Opened, fleet: FleetState, moment: str) -> RecordedFleet | None:
    """The fleet as this configuration last recorded it; where it never did, as any other did."""
    own = fleet.seen.get(scope_of(ready.config))
    seen = own or max(fleet.seen.values(), key=lambda row: row.seq, default=None)
    if seen is None:
        return None
    return await seen_fleet(ready.store, seen, until=moment)


def _chosen(
    ready: Opened, fleet: FleetState, recorded: RecordedFleet, names: Sequence[str]
) -> Chosen:
    catalogues = [catalogue_of(sets) for sets in recorded.catalogues]
    targets: list[Target] = []
    followed: dict[str, Catalogue] = {}
    for name, engine, index in recorded.tenants:
        if not matches_any(name, names):
            continue
        targets.append(Target(name=name, engine=engine, url=NOWHERE, source="ledger"))
        state = fleet.tenant(name)
        followed[name] = _applied(state, engine) if index == UNKNOWN else catalogues[index]
    for pattern in names:
        if pattern != "*" and not any(
            fnmatch.fnmatchcase(target.name, pattern) for target in targets
        ):
            raise UnknownTenantError(
                f"there was no tenant {pattern!r} then",
                hint="`ledger history` shows when tenants came and went (fleet_seen).",
            )
    return Chosen(
        found=Found(targets=tuple(targets)),
        targets=tuple(targets),
        catalogues=followed,
        engines=ready.engines,
    )


def _applied(state: TenantState, engine: DialectName) -> Catalogue:
    """The sets of a tenant of which is known only what it has applied."""
    names = sorted({ref.set for ref in state.applied})
    return catalogue_of([RecordedSet(name=name, dialect=engine) for name in names])


def _gone(
    fleet: FleetState, recorded: RecordedFleet | None, names: Sequence[str]
) -> tuple[str, ...]:
    """Tenants that had migrations and that no source named any more."""
    if recorded is None or list(names) != ["*"]:
        return ()
    return tuple(
        sorted(
            name
            for name, state in fleet.tenants.items()
            if name not in recorded.names and standing(state)
        )
    )


async def _head(ready: Opened, fleet: FleetState, moment: str) -> Head:
    """The last event before the time."""
    async for rows in ready.store.read(Filter(until=moment, last=1)):
        for row in rows:
            return Head(seq=row.seq, hash=row.hash)
    return Head(seq=fleet.seq, hash="")
