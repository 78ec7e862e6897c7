"""Where every tenant stands, as docs/interface.md's `status` shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from ledger.calls.opened import Look
from ledger.calls.tenants import Chosen
from ledger.engines.base import Target
from ledger.errors import LedgerError
from ledger.fleet.planning import Decisions
from ledger.plan import Catalogue, Options, State, interrupted, state_name, unfinished
from ledger.projections import Claim, FleetState
from ledger.runner.holder import life_of
from ledger.scripts.model import MigrationSet
from ledger.scripts.version import version_key
from ledger.stores.base import Head


class LedgerHead(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's redacted URL, and its head."""

    url: str
    seq: int
    hash: str


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A living claim. `until` is the end of its lease as known now; `epoch` is the fence."""

    run: str
    actor: str
    host: str
    pid: int
    epoch: int
    since: str
    until: str
    command: str
    migration: str | None


class TenantStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant in one set. `error` is the last failure, or why it was set aside.

    A source that could not be asked for its tenants stands here under its own name,
    `unreachable`, with no set; a tenant of another ledger is `foreign`, with no set either.
    `target` is the version that a run would bring it to: version.json's
    target_version, else the newest. `last_validated_at` is when checks last ran.
    """

    tenant: str
    engine: str
    set: str
    version: str | None
    state: State
    applied: tuple[str, ...]
    pending: tuple[str, ...]
    lock: Lock | None
    last_event_at: str | None
    error: str | None
    target: str | None = None
    last_validated_at: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fleet. `summary` counts tenants (in a set) by state.

    `gone` are tenants with applied migrations that no source names any more, if all were asked for.
    `basis` says by what a status of an earlier time was made: the tenants and migrations that a run
    had `recorded` by then, or, where none had, `today`'s tenants that had events, and today's files.
    """

    ledger: LedgerHead
    tenants: tuple[TenantStatus, ...]
    summary: dict[str, int]
    gone: tuple[str, ...] = ()
    basis: Literal["", "recorded", "today"] = ""

    @property
    def needs_attention(self) -> bool:
        """Whether any tenant is anything but `current`."""
        return any(state != "current" for state in self.summary)


async def read_status(look: Look, gone: tuple[str, ...] = ()) -> Status:
    """Where the tenants stand now."""
    store = look.ready.store
    return build_status(
        look.fleet,
        look.chosen,
        gone=gone,
        head=await store.head(),
        url=store.url,
        now=await store.now(),
        options=look.ready.options(),
    )


def build_status(
    fleet: FleetState,
    chosen: Chosen,
    *,
    gone: tuple[str, ...] = (),
    head: Head,
    url: str,
    now: datetime,
    options: Options,
    past: bool = False,
) -> Status:
    """Fold, plan and clock made into rows: one for each tenant and set it follows.

    In the `past`, leases alone say which runs were at work; else the processes of this host too.
    """
    decisions = Decisions(fleet, options)
    rows: list[TenantStatus] = []
    strangers = {stranger.tenant: stranger for stranger in chosen.strangers}
    for target in chosen.targets:
        if target.name in strangers:
            error = strangers[target.name].error
            rows.append(_unreadable(target.name, target.engine, "foreign", error))
            continue
        rows += _rows(fleet, target, chosen.catalogues[target.name], decisions, now, past=past)
    # A source of which nobody knows what tenants it has is no reason to call the fleet current.
    rows += [
        _unreadable(lost.source, lost.engine, "failed" if lost.aside else "unreachable", lost.error)
        for lost in chosen.found.lost
    ]
    summary: dict[str, int] = {}
    for row in rows:
        summary[row.state] = summary.get(row.state, 0) + 1
    return Status(
        ledger=LedgerHead(url=url, seq=head.seq, hash=head.hash),
        tenants=tuple(rows),
        summary=summary,
        gone=gone,
    )


def _rows(
    fleet: FleetState,
    target: Target,
    catalogue: Catalogue,
    decisions: Decisions,
    now: datetime,
    *,
    past: bool,
) -> list[TenantStatus]:
    state = fleet.tenant(target.name)
    claim = fleet.lock(state, now)
    if not past and claim is not None and life_of(claim.holder, claim.run) == "gone":
        claim = None
    lock = _lock(fleet, claim) if claim is not None else None
    decision = decisions.of(target.name, catalogue)
    problem = decisions.problem(target.name, catalogue)
    left = unfinished(state, decision.pending)
    error = None
    if state.failure is not None:
        error = state.failure.message
    elif claim is None and state.claim is not None and (interrupted(state) or decision.pending):
        was = state.claim
        error = f"the {was.command} by {was.actor} (run {was.run}) was interrupted"
    elif problem is not None and left:
        error = str(problem)
    elif state.skipped:
        error = state.skipped_detail or state.skipped
    elif problem is not None:
        error = str(problem)
    rows = []
    for one_set in catalogue.sets:
        name = one_set.name
        applied = tuple(ref.version for ref in state.applied if ref.set == name)
        pending = tuple(
            migration.ref.version for migration in decision.pending if migration.ref.set == name
        )
        rows.append(
            TenantStatus(
                tenant=target.name,
                engine=target.engine,
                set=name,
                version=_highest(applied, name, catalogue),
                state=state_name(
                    state,
                    pending=bool(pending) or decision.problem is not None,
                    running=lock is not None,
                    unfinished=bool(left),
                ),
                applied=applied,
                pending=pending,
                lock=lock,
                last_event_at=state.at or None,
                error=error,
                target=_target(one_set),
                last_validated_at=state.validated_at or None,
            )
        )
    return rows


def _unreadable(name: str, engine: str, state: State, error: LedgerError) -> TenantStatus:
    """A source, or a tenant, of which this ledger cannot say where it stands."""
    return TenantStatus(
        tenant=name,
        engine=engine,
        set="",
        version=None,
        state=state,
        applied=(),
        pending=(),
        lock=None,
        last_event_at=None,
        error=str(error),
    )


def _target(one_set: MigrationSet) -> str | None:
    """Where a run without --to stops."""
    if one_set.target is not None or not one_set.migrations:
        return one_set.target
    return max(one_set.migrations, key=lambda migration: migration.key).ref.version


def _highest(applied: tuple[str, ...], name: str, catalogue: Catalogue) -> str | None:
    """The highest applied version by number, whether its file is still there or not."""
    keys = {
        migration.ref.version: migration.key
        for migration in catalogue.order
        if migration.ref.set == name
    }
    return max(
        applied, key=lambda version: keys.get(version) or version_key(version) or (), default=None
    )


def _lock(fleet: FleetState, claim: Claim) -> Lock:
    return Lock(
        run=claim.run,
        actor=claim.actor,
        host=claim.holder.host,
        pid=claim.holder.pid,
        epoch=claim.epoch,
        since=claim.at,
        until=fleet.lease_end(claim).isoformat().replace("+00:00", "Z"),
        command=claim.command,
        migration=claim.migration,
    )
