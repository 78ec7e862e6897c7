"""One event with its neighbours, its run, and the statement that it is about."""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import events as ev
from ledger.calls.runs import described
from ledger.calls.texts import KeptMigration, kept_migration, shown_sql
from ledger.errors import UsageError
from ledger.events import Direction, MigrationRef, Recorded
from ledger.projections import FleetState, RunState
from ledger.stores.base import Filter
from ledger.stores.store import Store

NEIGHBOURS: Final = 3
"""So many events of the stream before it and after it."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A step's statement in its kept text, before placeholders are replaced; `line` is that of its part."""

    direction: Direction
    step: int
    name: str
    line: int
    sql: str


class ShownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event, up to three on its stream `before` and `after` it, and its run.

    `migration` is the one that it is about, with the texts that ran; `statement` is its step's.
    """

    event: Recorded
    before: tuple[Recorded, ...]
    after: tuple[Recorded, ...]
    run: RunState | None
    migration: KeptMigration | None
    statement: Statement | None


async def show_event(store: Store, seq: int) -> ShownEvent:
    """Raises UsageError for a seq that the ledger has not."""
    found = await _read(store, Filter(after_seq=seq - 1, until_seq=seq))
    if not found:
        head = await store.head()
        raise UsageError(
            f"the ledger has no event {seq}; its last one is {head.seq}",
            hint="`ledger history --limit 20` shows the newest.",
        )
    event = found[0]
    stream = Filter(stream=event.stream)
    before = msgspec.structs.replace(stream, until_seq=seq - 1, last=NEIGHBOURS)
    started = await _started(store, event)
    migration = statement = None
    if started is not None:
        migration = await kept_migration(store, *started)
        statement = _statement(event.data, migration)
    return ShownEvent(
        event=event,
        before=tuple(await _read(store, before) if seq > 1 else ()),
        after=tuple(
            await _read(store, msgspec.structs.replace(stream, after_seq=seq), at_most=NEIGHBOURS)
        ),
        run=await _run(store, event.run),
        migration=migration,
        statement=statement,
    )


async def _read(store: Store, where: Filter, *, at_most: int | None = None) -> list[Recorded]:
    async for rows in store.read(where, batch=at_most or 1_000):
        return rows[:at_most]
    return []


async def _run(store: Store, run: str) -> RunState | None:
    fleet = FleetState()
    async for rows in store.read(Filter(stream=f"run/{run}")):
        fleet.fold(rows)
    state = fleet.runs.get(run)
    if state is None:
        return None
    return (await described(store, [state], now=await store.now()))[0]


async def _started(store: Store, event: Recorded) -> tuple[MigrationRef, str] | None:
    """The migration that the event is about, and the engine that read its text.

    A step names set and version alone: what ran is what its claim was for.
    """
    data = event.data
    key = _key(data)
    if event.tenant is None or key is None:
        return None
    where = Filter(stream=event.stream, types=("started",), until_seq=event.seq)
    latest: ev.Started | None = None
    async for rows in store.read(where):
        for row in rows:
            begun = row.data
            if isinstance(begun, ev.Started):
                of = begun.migration
                if latest is None or of is None or of.key == key:
                    latest = begun
    if latest is None:
        return None
    ref = getattr(data, "migration", None) or latest.migration
    if ref is None or ref.key != key:
        return None
    return ref, latest.engine


def _key(event: ev.AnyEvent) -> tuple[str, str] | None:
    ref = getattr(event, "migration", None)
    if isinstance(ref, MigrationRef):
        return ref.key
    set_name, version = getattr(event, "set", None), getattr(event, "version", None)
    return (set_name, version) if set_name and version else None


def _statement(event: ev.AnyEvent, kept: KeptMigration) -> Statement | None:
    number = getattr(event, "step", None)
    direction: Direction = getattr(event, "direction", "up")
    if number is None:
        return None
    said = getattr(event, "statement", "")
    steps = kept.steps(direction)
    # The down steps of a migration in part are numbered anew: the hash says which one it is.
    found = [step for step in steps if step.sha256 == said] or [
        step for step in steps if step.number == number
    ]
    if not found:
        return None
    return Statement(
        direction=direction,
        step=number,
        name=found[0].name,
        line=found[0].line,
        sql=shown_sql(found[0]),
    )
