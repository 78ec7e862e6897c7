"""What changed between two times: the ledger folded once, to the one and on to the other."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.api.status import Status
from ledger.api.then import Choose, status_of
from ledger.calls.opened import Opened
from ledger.diff.compare import FleetDiff, Moment, Standing, compare
from ledger.errors import UnknownTenantError, UsageError
from ledger.fleet.state import replay_fleet
from ledger.projections import FleetState
from ledger.requests import Diff
from ledger.stores.base import Filter
from ledger.stores.filters import moment_text


async def diff(ready: Opened, request: Diff, names: Sequence[str], *, choose: Choose) -> FleetDiff:
    """What `status` says of both times, compared. Raises UsageError, UnknownTenantError, ChainBrokenError."""
    since = moment_text(request.since)
    until = moment_text(request.until or (await ready.store.now()).isoformat())
    if since >= until:
        raise UsageError(
            f"from {since} to {until} is no time between",
            hint="Write the earlier time first: `ledger diff --from 7d --to 1d`.",
        )
    fleet = await replay_fleet(ready.store, until=since)
    lost: list[UnknownTenantError] = []

    async def moment(at: str, fleet: FleetState) -> Moment:
        try:
            return _moment(at, await status_of(ready, fleet, names, at, choose=choose))
        except UnknownTenantError as error:
            lost.append(error)
            return Moment(at=at, seq=fleet.seq, tenants=())

    before = await moment(since, fleet)
    fleet = await _later(ready, fleet, since, until)
    after = await moment(until, fleet)
    if len(lost) == 2:
        raise lost[1]
    runs = (run for run in fleet.runs.values() if since <= run.started_at < until)
    return compare(before, after, runs)


async def _later(ready: Opened, fleet: FleetState, since: str, until: str) -> FleetState:
    """The state at `until`, by the one at `since`: as one replay has it, also where a clock went back."""
    async for batch in ready.store.read_facts(Filter(since=since, until=until)):
        if batch[0][0] <= fleet.seq:
            return await replay_fleet(ready.store, until=until)
        fleet.fold_facts(batch)
    return fleet


def _moment(at: str, status: Status) -> Moment:
    return Moment(
        at=at,
        seq=status.ledger.seq,
        tenants=tuple(
            Standing(
                tenant=one.tenant,
                set=one.set,
                version=one.version,
                state=one.state,
                applied=one.applied,
            )
            for one in status.tenants
        ),
    )
