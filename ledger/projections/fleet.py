"""State folded from events: every tenant's version, lock and last failure, and every run.

Invariant: the state at a seq is a function of the events up to it and of nothing
else. `applied` is a set with an order (the order of applying), never a
high-water mark. The structs of this package are changed in place by
`FleetState.fold` alone; everybody else only reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from ledger import events as ev
from ledger.events import Recorded
from ledger.projections.applied import AppliedSets
from ledger.projections.fold import TENANT_HANDLERS, Fact
from ledger.projections.runs import RunState, Seen
from ledger.projections.tenants import Claim, TenantState


class FleetState(msgspec.Struct, kw_only=True):
    """All tenants and runs as of `seq`; `seen` is what each configuration last saw, by its scope.

    Without `whole` only some tenants and runs are known; what is asked of others is then not here.
    `stored_seq` is where the stored rows stand that it was loaded from, and
    `touched` names those that changed since.
    """

    seq: int = 0
    stored_seq: int = 0
    whole: bool = True
    tenants: dict[str, TenantState] = msgspec.field(default_factory=dict)
    runs: dict[str, RunState] = msgspec.field(default_factory=dict)
    seen: dict[str, Seen] = msgspec.field(default_factory=dict)
    touched: set[str] = msgspec.field(default_factory=set)
    sets: AppliedSets = msgspec.field(default_factory=AppliedSets)

    def tenant(self, name: str) -> TenantState:
        """The tenant's state; an empty one (not remembered) if it has no events."""
        return self.tenants.get(name) or TenantState(tenant=name)

    def fold(self, recorded: Iterable[Recorded]) -> None:
        """Take events in, in seq order. Raises NewerLedgerError for what this version does not know."""
        self.fold_facts(
            [
                (row.seq, row.version, row.at, row.run, row.actor, row.tenant, row.data)
                for row in recorded
            ]
        )

    def fold_facts(self, facts: Iterable[Fact]) -> None:
        """`fold`, from what a store's `read_facts` gives: the one place where events become state."""
        handlers = TENANT_HANDLERS
        state = TenantState(tenant="")
        last: Fact | None = None
        seq = self.seq
        for row in facts:
            tenant = row[5]
            seq = row[0]
            if tenant is None:
                _fold_run(self, row)
                continue
            # Events come tenant by tenant, more often than not.
            if tenant != state.tenant:
                if last is not None:
                    state.seq, state.version, state.at = last[:3]
                state = self._touch(tenant)
            last = row
            event = row[6]
            handler = handlers.get(event.__class__)
            if handler is not None:
                handler(self.sets, state, row, event)
        if last is not None:
            state.seq, state.version, state.at = last[:3]
        self.seq = max(self.seq, seq)

    def _touch(self, tenant: str) -> TenantState:
        """The tenant's state, about to change."""
        self.touched.add(f"tenant/{tenant}")
        state = self.tenants.get(tenant)
        if state is None:
            state = self.tenants[tenant] = TenantState(tenant=tenant)
        return state

    def lease_end(self, claim: Claim) -> datetime:
        """When the claim may be taken over, by the ledger's clock."""
        run = self.runs.get(claim.run)
        if run is None or run.renewed_at < claim.at:
            return parse_time(claim.at) + timedelta(seconds=claim.lease_seconds)
        return parse_time(run.renewed_at) + timedelta(seconds=run.lease_seconds)

    def lock(self, tenant: TenantState, now: datetime) -> Claim | None:
        """The living claim on a tenant, or None."""
        claim = tenant.claim
        return claim if claim is not None and self.lease_end(claim) > now else None


def parse_time(text: str) -> datetime:
    """An event's `at` as an aware datetime."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _fold_run(fleet: FleetState, row: Fact) -> None:
    seq, version, at, name, actor, _, event = row
    if isinstance(event, ev.FleetSeen):
        if event.partial:
            return
        fleet.seen[event.scope] = Seen(
            scope=event.scope, fleet=event.fleet, at=at, seq=seq, follows=event.follows
        )
        fleet.touched.add(f"seen/{event.scope}")
        return
    run = fleet.runs.get(name)
    if run is None:
        run = fleet.runs[name] = RunState(run=name)
    fleet.touched.add(f"run/{name}")
    run.version = version
    if isinstance(event, ev.RunStarted):
        run.command = event.command
        run.actor = actor
        run.started_at = run.renewed_at = at
        run.lease_seconds = event.lease_seconds
        run.tenants = event.tenants
        run.target = event.target
        run.reason = event.reason
        run.holder = event.holder
        run.plan = event.plan
    elif isinstance(event, ev.LeaseRenewed):
        run.renewed_at = at
        run.lease_seconds = event.lease_seconds
    elif isinstance(event, ev.RunFinished):
        run.finished_at = at
        run.outcomes = event.outcomes
        run.interrupted = event.interrupted
