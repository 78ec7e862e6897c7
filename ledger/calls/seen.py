"""What a call records of which tenants there are and what they follow, and how that reads later.

Invariant: a text that lists the whole fleet is written only where all sources were asked; a call on
named tenants records those alone, at the same cost in any fleet.
"""

from __future__ import annotations

from ledger import events as ev
from ledger.calls.tenants import Chosen
from ledger.errors import ChainBrokenError
from ledger.fleet.recorded import (
    Kept,
    News,
    RecordedCatalogue,
    RecordedFleet,
    kept,
    read_catalogue,
    read_fleet,
    record_catalogue,
    record_fleet,
    with_followed,
)
from ledger.projections import Seen
from ledger.runner.context import RunContext
from ledger.runner.kept import kept_text
from ledger.stores.base import Filter
from ledger.stores.store import Store


async def news_of_fleet(ctx: RunContext, chosen: Chosen) -> tuple[News, ...]:
    """What is to be recorded of which tenants there are and what they follow, unless that is what was last seen.

    Nothing where a source did not answer: its tenants are not gone.
    """
    if not chosen.found.answered:
        return ()
    last = ctx.fleet.seen.get(chosen.scope)
    if not chosen.found.whole:
        return _news_of_some(ctx, chosen, last) if last is not None else ()
    before = None
    if last is not None and len(chosen.known) < len(chosen.found.targets):
        before = await _seen_before(ctx.store, last)
    fleet = record_fleet(
        chosen.found.targets, chosen.known, before, out_of_order=chosen.out_of_order
    )
    now = kept(fleet)
    if last is not None and last.fleet == now.sha256:
        return ()
    if last is not None and before is None:
        before = await _seen_before(ctx.store, last)
    old = before.names if before is not None else fleet.names
    event = ev.FleetSeen(
        scope=chosen.scope,
        fleet=now.sha256,
        tenants=len(fleet.tenants),
        previous=last.fleet if last is not None else "",
        came=tuple(sorted(fleet.names - old)),
        gone=tuple(sorted(old - fleet.names)),
        follows=fleet.follows,
    )
    return ((event, now),)


def is_seen(chosen: Chosen, last: Seen | None) -> bool:
    """Whether the chosen tenants follow what tenants did when the whole fleet was last seen."""
    return last is not None and {one.sha256 for one in _followed(chosen)} <= {*last.follows}


def _followed(chosen: Chosen) -> dict[Kept, list[str]]:
    """What the chosen tenants follow, and the names of those that do."""
    texts: dict[tuple[str, int], Kept] = {}
    found: dict[Kept, list[str]] = {}
    for target in chosen.targets:
        catalogue = chosen.catalogues[target.name]
        key = (target.engine, id(catalogue))
        if key not in texts:
            texts[key] = kept(record_catalogue(target.engine, catalogue))
        found.setdefault(texts[key], []).append(target.name)
    return found


def _news_of_some(ctx: RunContext, chosen: Chosen, last: Seen) -> tuple[News, ...]:
    """The named tenants that the ledger does not know yet, with what they follow."""
    return tuple(
        (
            ev.FleetSeen(
                scope=chosen.scope,
                fleet=last.fleet,
                tenants=len(came),
                previous=last.fleet,
                came=tuple(came),
                follows=(text.sha256,),
                partial=True,
            ),
            text,
        )
        for text, names in _followed(chosen).items()
        if (came := [name for name in names if ctx.state(name).mark is None])
    )


async def _seen_before(store: Store, last: Seen) -> RecordedFleet | None:
    """What was last seen; None for a text that is missing or was changed, which `verify` names."""
    try:
        return await seen_fleet(store, last)
    except ChainBrokenError:
        return None


async def seen_fleet(store: Store, seen: Seen, *, until: str | None = None) -> RecordedFleet:
    """The fleet as it was last seen, with the tenants that were seen by themselves since. Raises ChainBrokenError."""
    fleet = read_fleet(await kept_text(store, seen.fleet, "fleet"))
    followed: dict[str, str] = {}
    where = Filter(types=("fleet_seen",), after_seq=seen.seq, until=until)
    async for rows in store.read(where):
        for row in rows:
            event = row.data
            if isinstance(event, ev.FleetSeen) and event.partial and event.scope == seen.scope:
                followed.update(dict.fromkeys(event.came, event.follows[0]))
    texts: dict[str, RecordedCatalogue] = {}
    for sha256 in sorted(set(followed.values())):
        texts[sha256] = read_catalogue(await kept_text(store, sha256, "fleet"))
    return with_followed(fleet, {name: texts[sha256] for name, sha256 in followed.items()})
