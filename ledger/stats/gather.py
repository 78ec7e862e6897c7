"""Sizes, growth and slow steps over a fleet, gathered from events.

Invariant: only what was measured counts — a step that was found done after a
crash, or a size that no engine gave, is left out and does not count as 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

import msgspec

from ledger import events as ev
from ledger.calls.opened import Look
from ledger.events import Mark, Recorded
from ledger.requests import ReadStats
from ledger.stats.spread import Spread
from ledger.stores.base import Filter


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's size when it was last recorded, and what its migrations added to it, in bytes.

    `bytes` and `growth_bytes` are None where nothing was measured. `in_part` are the migrations
    that stand in their middle, and so are among none of the figures.
    """

    tenant: str
    bytes: int | None
    growth_bytes: int | None
    migrations: int
    in_part: tuple[str, ...] = ()


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What one migration cost each of `tenants`: bytes it added, and microseconds from claim to end.

    The bytes are None where no size was measured; `largest` is the tenant that grew most.
    """

    migration: str
    tenants: int
    total_bytes: int | None
    median_bytes: int | None
    p95_bytes: int | None
    max_bytes: int | None
    largest: str | None
    median_us: int
    p95_us: int
    max_us: int
    slowest: str


class SlowStep(msgspec.Struct, frozen=True, kw_only=True):
    """How long one step took on `tenants`, in microseconds; `slowest` took `max_us`."""

    migration: str
    direction: ev.Direction
    step: int
    name: str
    tenants: int
    median_us: int
    p95_us: int
    max_us: int
    slowest: str


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet in figures. `sizes` are largest first, `growth` by migration, `steps` slowest first."""

    tenants: int
    total_bytes: int
    sizes: tuple[Size, ...]
    growth: tuple[Growth, ...]
    steps: tuple[SlowStep, ...]


async def fleet_stats(look: Look, request: ReadStats) -> Stats:
    """Sizes, growth and slow steps of the chosen tenants."""
    names = [target.name for target in look.chosen.targets]
    gathering = Gathering(names)
    where = Filter(types=("completed", "step_applied"))
    streams = () if look.chosen.found.whole else [f"tenant/{name}" for name in names]
    for stream in streams or (None,):
        async for rows in look.ready.store.read(msgspec.structs.replace(where, stream=stream)):
            gathering.feed(rows)
    states = {name: look.fleet.tenant(name) for name in names}
    return gathering.finish(
        {name: state.mark for name, state in states.items()},
        migration=request.migration,
        steps=request.steps,
        in_part={name: tuple(half.id for half in state.halves) for name, state in states.items()},
    )


_Step = tuple[str, ev.Direction, int]


class Gathering:
    """Takes events in, in any number of batches; `finish` sums up. `tenants` are those that count."""

    def __init__(self, tenants: Collection[str]) -> None:
        self._numbers = {tenant: number for number, tenant in enumerate(tenants)}
        self._names: dict[_Step, str] = {}
        self._steps: dict[_Step, Spread] = defaultdict(Spread)
        self._lasted: dict[str, Spread] = defaultdict(Spread)
        self._grew: dict[str, Spread] = defaultdict(Spread)
        self._growth: dict[str, int] = {}
        self._migrations: dict[str, int] = {}

    def feed(self, rows: Iterable[Recorded]) -> None:
        """Take in what counts of these events."""
        for row in rows:
            if row.tenant is None or row.tenant not in self._numbers:
                continue
            event = row.data
            if isinstance(event, ev.StepApplied):
                self._step(row.tenant, event)
            elif isinstance(event, ev.Completed):
                self._completed(row.tenant, event)

    def _step(self, tenant: str, event: ev.StepApplied) -> None:
        if event.recovered:
            return
        key = (f"{event.set}/{event.version}", event.direction, event.step)
        self._names[key] = event.name
        self._steps[key].add(event.duration_us, tenant, self._numbers[tenant])

    def _completed(self, tenant: str, event: ev.Completed) -> None:
        migration, number = event.migration.id, self._numbers[tenant]
        self._lasted[migration].add(event.duration_us, tenant, number)
        self._migrations[tenant] = self._migrations.get(tenant, 0) + 1
        if event.bytes_before is not None and event.mark.bytes is not None:
            grew = event.mark.bytes - event.bytes_before
            self._grew[migration].add(grew, tenant, number)
            self._growth[tenant] = self._growth.get(tenant, 0) + grew

    def finish(
        self,
        marks: Mapping[str, Mark | None],
        *,
        migration: str | None = None,
        steps: int | None = None,
        in_part: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> Stats:
        """The figures; `marks` are the tenants as last recorded, `in_part` what stands in its middle there.

        With `migration` (VERSION or SET/VERSION) only its growth and steps; at most `steps` steps.
        """
        sizes = [
            self._size(tenant, marks.get(tenant), in_part.get(tenant, ()))
            for tenant in self._numbers
        ]
        sizes.sort(key=lambda size: (-(size.bytes or 0), size.tenant))
        slow = [self._slow(key) for key in self._steps if _wanted(key[0], migration)]
        slow.sort(key=lambda step: (-step.median_us, step.migration, step.direction, step.step))
        return Stats(
            tenants=len(sizes),
            total_bytes=sum(size.bytes or 0 for size in sizes),
            sizes=tuple(sizes),
            growth=tuple(self._one(name) for name in self._lasted if _wanted(name, migration)),
            steps=tuple(slow[:steps]),
        )

    def _size(self, tenant: str, mark: Mark | None, in_part: tuple[str, ...]) -> Size:
        return Size(
            tenant=tenant,
            bytes=mark.bytes if mark else None,
            growth_bytes=self._growth.get(tenant),
            migrations=self._migrations.get(tenant, 0),
            in_part=in_part,
        )

    def _one(self, migration: str) -> Growth:
        lasted, grew = self._lasted[migration], self._grew.get(migration)
        return Growth(
            migration=migration,
            tenants=lasted.tenants,
            total_bytes=grew.total if grew else None,
            median_bytes=grew.percentile(50) if grew else None,
            p95_bytes=grew.percentile(95) if grew else None,
            max_bytes=grew.largest[0] if grew else None,
            largest=grew.largest[1] if grew else None,
            median_us=lasted.percentile(50),
            p95_us=lasted.percentile(95),
            max_us=lasted.largest[0],
            slowest=lasted.largest[1],
        )

    def _slow(self, key: _Step) -> SlowStep:
        taken = self._steps[key]
        migration, direction, number = key
        return SlowStep(
            migration=migration,
            direction=direction,
            step=number,
            name=self._names[key],
            tenants=taken.tenants,
            median_us=taken.percentile(50),
            p95_us=taken.percentile(95),
            max_us=taken.largest[0],
            slowest=taken.largest[1],
        )


def _wanted(migration: str, named: str | None) -> bool:
    return named is None or named in (migration, migration.rpartition("/")[2])
