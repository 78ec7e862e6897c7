"""The fleet's folded state: loaded from its stored rows, brought up to the head, stored again."""

from __future__ import annotations

from ledger.projections import PROJECTION, FleetState, all_keys, dump, load
from ledger.runner.context import RunContext
from ledger.stores.base import Filter, StoredProjection
from ledger.stores.store import Store


async def load_fleet(store: Store) -> FleetState:
    """The state at the head: the stored rows, and what came after them folded in."""
    seq, rows = await store.load_projection(PROJECTION)
    fleet = load(seq, ((row.key, row.state) for row in rows))
    async for batch in store.read_facts(Filter(after_seq=seq)):
        fleet.fold_facts(batch)
    return fleet


async def replay_fleet(store: Store, *, until: str | None = None) -> FleetState:
    """The state folded from the first event on, up to (not including) the time `until`."""
    fleet = FleetState()
    async for batch in store.read_facts(Filter(until=until)):
        fleet.fold_facts(batch)
    return fleet


async def save_fleet(store: Store, fleet: FleetState) -> bool:
    """Store what changed since loading. False (nothing stored) if another process stored first."""
    rows = dump(fleet, sorted(fleet.touched))
    saved = await store.save_projection(
        PROJECTION,
        base_seq=fleet.stored_seq,
        seq=fleet.seq,
        changed=[StoredProjection(key=key, state=state) for key, state in rows.items()],
    )
    if saved:
        fleet.stored_seq = fleet.seq
        fleet.touched.clear()
    return saved


async def save_after_run(ctx: RunContext) -> None:
    """Store the state that a run left.

    If other processes appended meanwhile, this run has not seen all events up to
    its own last one; then the state is loaded afresh and that one is stored.
    """
    fleet = ctx.fleet
    if fleet.seq - ctx.base_seq != ctx.own_events:
        fleet = await load_fleet(ctx.store)
    await save_fleet(ctx.store, fleet)


async def rebuild_fleet(store: Store) -> FleetState:
    """Replay everything and replace all stored rows by the result."""
    fleet = await replay_fleet(store)
    rows = dump(fleet, all_keys(fleet))
    await store.save_projection(
        PROJECTION,
        base_seq=-1,
        seq=fleet.seq,
        changed=[StoredProjection(key=key, state=state) for key, state in rows.items()],
    )
    return fleet
