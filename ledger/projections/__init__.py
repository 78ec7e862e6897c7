"""State folded from events: tenants, runs, the fleet, and the rows that a store keeps of them."""

from __future__ import annotations

from ledger.projections.applied import Applied, AppliedSets, joined, without
from ledger.projections.fleet import FleetState, parse_time
from ledger.projections.fold import Fact
from ledger.projections.runs import RunState, RunWord, Seen
from ledger.projections.stored import PROJECTION, all_keys, applied_keys, dump, load
from ledger.projections.tenants import Claim, Failure, Half, OpenIntent, Resolution, TenantState
