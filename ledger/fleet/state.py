"""The fleet's folded state: its stored rows, brought up to the head and stored again.

Invariant: all stored rows stand at one seq, whoever stored them. What is read costs by the tenants that
are asked for and by the events since that seq, and runs keep those few: they store what they folded
while they last and at their end. A call that only looks stores nothing, since its account may be
another than the one that owns the ledger.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import anyio

from ledger.errors import LedgerError
from ledger.projections import (
    PROJECTION,
    Fact,
    FleetState,
    RunState,
    all_keys,
    applied_keys,
    dump,
    load,
)
from ledger.runner.context import RunContext
from ledger.stores.base import Filter, StoredProjection
from ledger.stores.store import PAGE_KEYS, Store

log = logging.getLogger("ledger.fleet")

STORE_EVENTS: Final = 20_000
"""A run stores its state after so many events, so that a kill leaves no longer tail."""
TAIL_EVENTS: Final = 2_000
"""What may be left unstored by a run that knows only some tenants."""
SOME: Final = 100
LOOK_SECONDS: Final = 0.5

_RUN_EVENTS: Final = ("run_started", "lease_renewed", "run_finished")


async def load_fleet(store: Store, names: Sequence[str] = (), *, runs: bool = False) -> FleetState:
    """The state at the head: the stored rows, and what came after them folded in.

    With `names` the state of these tenants only, with the runs that hold them, or with `runs` all.
    """
    if names:
        return await _load_some(store, names, runs=runs)
    seq, rows = await store.load_projection(PROJECTION)
    fleet = load(seq, ((row.key, row.state) for row in rows))
    async for batch in store.read_facts(Filter(after_seq=seq)):
        fleet.fold_facts(batch)
    return fleet


async def _load_some(store: Store, names: Sequence[str], *, runs: bool) -> FleetState:
    keys = [f"tenant/{name}" for name in names]
    keys += await store.projection_keys(PROJECTION, prefix="seen/")
    if runs:
        keys += await store.projection_keys(PROJECTION, prefix="run/")
    fleet = await _load_rows(store, keys)
    fleet.whole = False
    # A row may be of a later moment than another: each tenant goes on from its own last event.
    await _fold_streams(store, fleet, names)
    types = ("fleet_seen", *_RUN_EVENTS) if runs else ("fleet_seen",)
    await _fold(store, fleet, Filter(types=types, after_seq=fleet.stored_seq))
    return fleet


async def knows_some(store: Store) -> bool:
    """Whether this ledger has ended something on any tenant; asked of some first, since mostly all are known."""
    keys = await store.projection_keys(PROJECTION, prefix="tenant/", limit=SOME)
    for fleet in (await _load_rows(store, keys), None):
        known = fleet or await load_fleet(store)
        if any(one.mark is not None for one in known.tenants.values()):
            return True
    return False


async def load_runs(store: Store, *, newest: int | None = None) -> list[RunState]:
    """Runs, oldest first; with `newest` at most that many. Their ids are in the order of time."""
    limit = -1 if newest is None else newest
    keys = await store.projection_keys(PROJECTION, prefix="run/", limit=limit)
    fleet = await _load_rows(store, keys)
    await _fold(store, fleet, Filter(types=_RUN_EVENTS, after_seq=fleet.stored_seq))
    runs = sorted(fleet.runs.values(), key=lambda run: (run.started_at, run.run))
    return runs if newest is None else runs[-newest:]


async def _load_rows(store: Store, keys: Sequence[str]) -> FleetState:
    """These rows, with the applied sets that they refer to; as of the earliest moment that one was read at."""
    found: dict[str, bytes] = {}
    moments = set()
    wanted = list(keys)
    while True:
        part, wanted = wanted[:PAGE_KEYS], wanted[PAGE_KEYS:]
        seq, rows = await store.load_projection(PROJECTION, part)
        moments.add(seq)
        found.update((row.key, row.state) for row in rows)
        wanted += sorted(applied_keys((row.key, row.state) for row in rows) - found.keys())
        if not wanted:
            return load(min(moments), found.items())


async def _fold(store: Store, fleet: FleetState, where: Filter) -> None:
    async for batch in store.read_facts(where):
        fleet.fold_facts(batch)


async def replay_fleet(
    store: Store, names: Sequence[str] = (), *, until: str | None = None
) -> FleetState:
    """The state folded from the first event on, up to (not including) the time `until`.

    With `names` that of these tenants only, from their own streams.
    """
    fleet = FleetState(whole=not names)
    if names:
        await _fold_streams(store, fleet, names, until=until)
        await _fold(store, fleet, Filter(types=("fleet_seen",), until=until))
    else:
        await _fold(store, fleet, Filter(until=until))
    return fleet


async def _fold_streams(
    store: Store, fleet: FleetState, names: Sequence[str], *, until: str | None = None
) -> None:
    """Go on in the streams of these tenants, each from its own last event, and of the runs that hold them."""
    for name in names:
        after = fleet.tenant(name).seq
        await _fold(store, fleet, Filter(stream=f"tenant/{name}", after_seq=after, until=until))
    held = {state.claim.run for state in fleet.tenants.values() if state.claim is not None}
    for run in sorted(held - fleet.runs.keys()):
        await _fold(store, fleet, Filter(stream=f"run/{run}", until=until))


async def save_fleet(store: Store, fleet: FleetState) -> bool:
    """Store what changed since loading. False (nothing stored) if another process stored first."""
    seq, touched = fleet.seq, fleet.touched
    fleet.touched = set()
    saved = False
    try:
        saved = await _save(store, fleet, sorted(touched), base_seq=fleet.stored_seq)
    finally:
        if saved:
            fleet.stored_seq = seq
        else:
            fleet.touched |= touched
    return saved


async def _save(store: Store, fleet: FleetState, keys: Iterable[str], *, base_seq: int) -> bool:
    return await store.save_projection(
        PROJECTION,
        base_seq=base_seq,
        seq=fleet.seq,
        changed=[
            StoredProjection(key=key, state=state) for key, state in dump(fleet, keys).items()
        ],
    )


async def keep_stored(ctx: RunContext) -> None:
    """Store what a run has made of the fleet, again and again while it lasts."""
    stored = ctx.own_events
    while True:
        await anyio.sleep(LOOK_SECONDS)
        if ctx.own_events - stored < STORE_EVENTS:
            continue
        stored = ctx.own_events
        try:
            with anyio.CancelScope(shield=True):
                await _store(ctx)
        except LedgerError as error:
            # The events say the same; whoever comes next folds them.
            log.warning("the projections could not be stored: %s", error)


async def save_after_run(ctx: RunContext) -> None:
    """Store the state that a run left; one that knows only some tenants leaves a short tail to the next."""
    if ctx.fleet.whole or ctx.fleet.seq - ctx.fleet.stored_seq >= TAIL_EVENTS:
        await _store(ctx)


async def _store(ctx: RunContext) -> None:
    """What this run knows, if it has seen every event up to its own last one; else what the events say."""
    fleet = ctx.fleet
    if not fleet.whole:
        await advance(ctx.store, pages=1)
    elif fleet.seq - ctx.base_seq != ctx.own_events or not await save_fleet(ctx.store, fleet):
        await advance(ctx.store)


async def advance(store: Store, *, pages: int | None = None) -> None:
    """Bring the stored rows to the head, at the cost of the events since and the rows that these change.

    Ends where another process does the same, and after so many pages of `STORE_EVENTS`.
    """
    seq, _ = await store.load_projection(PROJECTION, ())
    for _ in itertools.count() if pages is None else range(pages):
        facts: list[Fact] = []
        async for batch in store.read_facts(Filter(after_seq=seq, until_seq=seq + STORE_EVENTS)):
            facts += batch
        if not facts:
            return
        keys = {f"run/{row[3]}" if row[5] is None else f"tenant/{row[5]}" for row in facts}
        fleet = await _load_rows(store, sorted(keys))
        if fleet.stored_seq != seq:
            return
        fleet.fold_facts(facts)
        if not await save_fleet(store, fleet):
            return
        seq = fleet.stored_seq


async def rebuild_fleet(store: Store) -> FleetState:
    """Replay everything and replace all stored rows by the result."""
    fleet = await replay_fleet(store)
    await _save(store, fleet, all_keys(fleet), base_seq=-1)
    return fleet
