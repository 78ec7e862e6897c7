"""State folded from events: every tenant's version, lock and last words, and every run.

Invariant: the state at a seq is a function of the events up to it and of nothing
else. `applied` is a set with an order (the order of applying), never a
high-water mark; equal applied sets are one object, shared by all tenants that
have them, so that ten thousand equal tenants cost little more than one.

The structs here are changed in place by `FleetState.fold` alone; everybody else
only reads them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, Literal

import msgspec

from ledger import events as ev
from ledger.errors import ChainBrokenError
from ledger.events import Holder, Mark, MigrationRef, Recorded

PROJECTION: Final = "fleet2"
"""The name under which the store keeps this projection; another one for another shape of the rows."""

Applied = tuple[MigrationRef, ...]

Fact = tuple[int, int, str, str, str, str | None, bytes | str]
"""What a fold needs of an event: seq, the stream's version, at, run, actor, tenant and body.
A plain tuple with the body as bytes or text, as the driver gives it: a replay has millions of them."""


_BODY: Final = itemgetter(6)


def fact(row: Recorded) -> Fact:
    """What a fold needs of an event that was read whole."""
    return row.seq, row.version, row.at, row.run, row.actor, row.tenant, row.body


class Claim(msgspec.Struct, kw_only=True, frozen=True):
    """Who works on a tenant. It is alive as long as its run's lease is; see `lease_end`."""

    run: str
    actor: str
    holder: Holder
    epoch: int
    at: str
    lease_seconds: float
    command: str
    migration: str | None = None


class Failure(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Why the last claim ended without reaching its end."""

    error: str
    message: str
    run: str
    at: str
    set: str | None = None
    version: str | None = None
    direction: str = "up"
    step: int | None = None
    hint: str = ""
    in_doubt: bool = False
    evidence: dict[str, str] = {}


class OpenIntent(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A step that was begun and of which nothing more is known."""

    set: str
    version: str
    direction: str
    step: int
    statement: str
    before: str
    objects: tuple[str, ...] = ()
    connection_id: int = 0
    ahead: tuple[ev.AheadStep, ...] = ()
    bytes_before: int | None = None
    reached: int = 0


class Resolution(msgspec.Struct, kw_only=True, frozen=True):
    """A person's word on a step in doubt."""

    set: str
    version: str
    direction: str
    step: int
    how: str


class Half(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A migration that was begun and has not come to its end, and of which the tenant holds something.

    `landed` are its up steps that were recorded, those that a guard left out (`skipped`)
    included, of `of`. With an open `intent` one more may have landed.
    """

    ref: MigrationRef
    landed: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    of: int = 0
    intent: OpenIntent | None = None

    @property
    def id(self) -> str:
        """`SET/VERSION`."""
        return f"{self.ref.set}/{self.ref.version}"

    @property
    def applied(self) -> tuple[int, ...]:
        """The up steps that have run here."""
        return tuple(step for step in self.landed if step not in self.skipped)


class TenantState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One tenant as its stream tells it.

    `version` is the stream's version, `seq` and `at` its last event's. `skipped`
    is the reason for which the last run set the tenant aside. `drift` is
    `schema` or `regressed` until it is cleared. `landed` are the steps recorded of
    the migration that is not at its end yet; `landed_in` is its id and direction, `passed` are
    those of them that a guard left out, `begun` is the migration (up) that was begun last, with
    `begun_steps`. `left` are the migrations in part that something else was begun after: see `halves`.
    `reference` is the fingerprint of what the tenant should be where that is not, or was not seen
    to be, its mark's. `adopted`: what is applied was counted so and did not run here, so that
    tenants that stand alike say what it should be.
    `set_aside`: the last run that wanted something of it did not come to begin.
    `validated_at` is when checks were last run, by a migration or by `validate`.
    """

    tenant: str
    version: int = 0
    seq: int = 0
    at: str = ""
    engine: str = ""
    epoch: int = 0
    claim: Claim | None = None
    applied: Applied = ()
    failure: Failure | None = None
    intent: OpenIntent | None = None
    resolution: Resolution | None = None
    drift: str = ""
    drift_changes: int = 0
    skipped: str = ""
    skipped_detail: str = ""
    set_aside: bool = False
    mark: Mark | None = None
    backup_seq: int = 0
    landed: list[int] = []
    landed_in: str = ""
    passed: list[int] = []
    begun: MigrationRef | None = None
    begun_steps: int = 0
    left: dict[str, Half] = {}
    validated_at: str = ""
    reference: str = ""
    adopted: bool = False

    @property
    def expected(self) -> str:
        """The fingerprint of what the tenant should be as far as its own events say; or empty."""
        return self.reference or (self.mark.fingerprint if self.mark else None) or ""

    @property
    def halves(self) -> tuple[Half, ...]:
        """The migrations that have landed in part, in the order in which they were begun."""
        now = self.half_at_hand()
        return (*self.left.values(), now) if now is not None else tuple(self.left.values())

    def half_at_hand(self) -> Half | None:
        """The migration at hand, if it has landed in part."""
        ref = self.begun
        if ref is None:
            return None
        here = self.landed_in == f"{ref.set}/{ref.version} up"
        was = self.intent
        if was is not None and (was.set, was.version, was.direction) != (
            ref.set,
            ref.version,
            "up",
        ):
            was = None
        if was is None and not (here and len(self.landed) > len(self.passed)):
            return None
        return Half(
            ref=ref,
            landed=tuple(self.landed) if here else (),
            skipped=tuple(self.passed) if here else (),
            of=self.begun_steps,
            intent=was,
        )


RunWord = Literal["", "running", "finished", "stopped", "abandoned"]


class RunState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run. `renewed_at` plus `lease_seconds` is the end of its lease.

    `state` follows from the rest, the clock and the processes, and so is never stored:
    `stopped` by a signal or its failure budget, `abandoned` if it has no end though nobody is at
    work any more (killed, or its host is gone); then `finished_at` is the time of its last event.
    """

    run: str
    command: str = ""
    actor: str = ""
    started_at: str = ""
    renewed_at: str = ""
    lease_seconds: float = 0.0
    finished_at: str = ""
    tenants: int = 0
    target: str | None = None
    outcomes: dict[str, int] = {}
    interrupted: bool = False
    reason: str = ""
    holder: Holder | None = None
    version: int = 0
    plan: str = ""
    state: RunWord = ""


class Seen(msgspec.Struct, kw_only=True, frozen=True):
    """The fleet as one configuration last saw it: the SHA-256 of the kept text that lists it."""

    scope: str
    fleet: str
    at: str
    seq: int


class FleetState(msgspec.Struct, kw_only=True):
    """All tenants and runs as of `seq`; `seen` is what each configuration last saw, by its scope.

    `stored_seq` is where the stored rows stand that it was loaded from, and
    `touched` names those that changed since.
    """

    seq: int = 0
    stored_seq: int = 0
    tenants: dict[str, TenantState] = msgspec.field(default_factory=dict)
    runs: dict[str, RunState] = msgspec.field(default_factory=dict)
    seen: dict[str, Seen] = msgspec.field(default_factory=dict)
    touched: set[str] = msgspec.field(default_factory=set)
    pool: dict[Applied, Applied] = msgspec.field(default_factory=dict)
    grown: dict[tuple[int, MigrationRef], Applied] = msgspec.field(default_factory=dict)

    def tenant(self, name: str) -> TenantState:
        """The tenant's state; an empty one (not remembered) if it has no events."""
        return self.tenants.get(name) or TenantState(tenant=name)

    def fold(self, recorded: Iterable[Recorded]) -> None:
        """Take events in, in seq order. Raises NewerLedgerError for what this version does not know."""
        self.fold_facts([fact(row) for row in recorded])

    def fold_facts(self, facts: Sequence[Fact]) -> None:
        """`fold`, from what a store's `read_facts` gives. Raises ChainBrokenError, too, naming the seq."""
        try:
            self._fold(zip(facts, ev.decode_bodies([*map(_BODY, facts)]), strict=True))
        except ChainBrokenError:
            for row in facts:
                ev.decode_body(_BODY(row), seq=row[0])
            raise

    def _fold(self, pairs: Iterable[tuple[Fact, ev.AnyEvent]]) -> None:
        """The one place where events become state."""
        handlers = _TENANT_HANDLERS
        state = TenantState(tenant="")
        last: Fact | None = None
        seq = self.seq
        for row, event in pairs:
            tenant = row[5]
            seq = row[0]
            if tenant is None:
                _fold_run(self, row, event)
                continue
            # Events come tenant by tenant, more often than not.
            if tenant != state.tenant:
                if last is not None:
                    state.seq, state.version, state.at = last[:3]
                state = self._touch(tenant)
            last = row
            handler = handlers.get(event.__class__)
            if handler is not None:
                handler(self, state, row, event)
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

    def intern(self, applied: Applied) -> Applied:
        """The one object that stands for this applied set."""
        found = self.pool.get(applied)
        if found is None:
            found = tuple([_canonical(ref) for ref in applied])
            self.pool[found] = found
        return found

    def grow(self, applied: Applied, ref: MigrationRef) -> Applied:
        """The interned set with `ref` joined last, found without hashing the whole set again.

        `applied` must be interned (every state's is): the pool keeps it alive, so that
        its id names it.
        """
        key = (id(applied), ref)
        found = self.grown.get(key)
        if found is None:
            found = self.grown[key] = self.intern(joined(applied, ref))
        return found

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


def _ended(state: TenantState) -> None:
    state.claim = None
    state.failure = None
    state.intent = None
    state.resolution = None
    _forget_steps(state)
    state.drift = ""
    state.drift_changes = 0
    state.reference = ""
    state.adopted = False


def _forget_steps(state: TenantState) -> None:
    state.landed = []
    state.landed_in = ""
    state.passed = []
    state.begun = None
    state.begun_steps = 0


def _started(fleet: FleetState, state: TenantState, row: Fact, event: ev.Started) -> None:
    _, _, at, run, actor, _, _ = row
    state.epoch = event.epoch
    state.engine = event.engine
    state.skipped = state.skipped_detail = ""
    state.set_aside = False
    if event.command != "maintain":
        state.failure = None
    ref = event.migration
    if ref is not None:
        _begin(state, ref, event.direction, event.steps)
    state.claim = Claim(
        run=run,
        actor=actor,
        holder=event.holder,
        epoch=event.epoch,
        at=at,
        lease_seconds=event.lease_seconds,
        command=event.command,
        migration=f"{ref.set}/{ref.version}" if ref else None,
    )


def _begin(state: TenantState, ref: MigrationRef, direction: str, steps: int) -> None:
    """Work on a migration begins, or goes on; one in part that was at hand before is set aside."""
    was = state.begun
    if was is not None and (
        direction == "down" or (was.set, was.version) != (ref.set, ref.version)
    ):
        half = state.half_at_hand()
        if half is not None:
            state.left = {**state.left, half.id: half}
            state.intent = None
        _forget_steps(state)
    if direction == "down":
        return
    state.begun, state.begun_steps = ref, steps
    again = state.left.get(f"{ref.set}/{ref.version}")
    if again is not None:
        state.left = {key: one for key, one in state.left.items() if one is not again}
        state.landed_in = f"{ref.set}/{ref.version} up"
        state.landed = list(again.landed)
        state.passed = list(again.skipped)
        state.intent = again.intent


def _backup_created(
    fleet: FleetState, state: TenantState, row: Fact, event: ev.BackupCreated
) -> None:
    state.backup_seq = row[0]


def _step_started(fleet: FleetState, state: TenantState, row: Fact, event: ev.StepStarted) -> None:
    state.intent = OpenIntent(
        set=event.set,
        version=event.version,
        direction=event.direction,
        step=event.step,
        statement=event.statement,
        before=event.before,
        objects=event.objects,
        connection_id=event.connection_id,
        ahead=event.ahead,
        bytes_before=event.bytes_before,
        reached=event.reached,
    )


def _step_done(
    fleet: FleetState,
    state: TenantState,
    row: Fact,
    event: ev.StepApplied | ev.StepSkipped,
) -> None:
    state.intent = None
    here = f"{event.set}/{event.version} {event.direction}"
    if state.landed_in != here:
        state.landed_in = here
        state.landed = []
        state.passed = []
    state.landed.append(event.step)
    if event.__class__ is ev.StepSkipped:
        state.passed.append(event.step)


def _completed(fleet: FleetState, state: TenantState, row: Fact, event: ev.Completed) -> None:
    _ended(state)
    _whole(state, event.migration)
    state.mark = event.mark
    state.applied = fleet.grow(state.applied, event.migration)


def _whole(state: TenantState, *refs: MigrationRef) -> None:
    """Nothing of these migrations is left in part."""
    if state.left:
        gone = {f"{ref.set}/{ref.version}" for ref in refs}
        state.left = {key: one for key, one in state.left.items() if key not in gone}


def _canonical(ref: MigrationRef) -> MigrationRef:
    """The same, so that it is stored as the same bytes wherever it came from.

    msgspec leaves out a field that *is* its default; a text out of another process, or out
    of a body that names it, only equals it.
    """
    algorithm = sys.intern(ref.algorithm)
    if algorithm is ref.algorithm:
        return ref
    return msgspec.structs.replace(ref, algorithm=algorithm)


def without(applied: Applied, ref: MigrationRef) -> Applied:
    """The applied set without `ref`."""
    return tuple(one for one in applied if (one.set, one.version) != (ref.set, ref.version))


def joined(applied: Applied, ref: MigrationRef) -> Applied:
    """The applied set with `ref` as its last."""
    return (*without(applied, ref), ref)


def _failed(fleet: FleetState, state: TenantState, row: Fact, event: ev.Failed) -> None:
    state.claim = None
    if event.command == "maintain":
        return
    if event.error == "step_failed":
        state.intent = None
    _, _, at, run, _, _, _ = row
    state.failure = Failure(
        error=event.error,
        message=event.message,
        run=run,
        at=at,
        set=event.set,
        version=event.version,
        direction=event.direction,
        step=event.step,
        hint=event.hint,
        in_doubt=event.in_doubt,
        evidence=event.evidence,
    )


def _rolled_back(fleet: FleetState, state: TenantState, row: Fact, event: ev.RolledBack) -> None:
    _ended(state)
    _whole(state, event.migration)
    state.mark = event.mark
    state.applied = fleet.intern(without(state.applied, event.migration))


def _restored(fleet: FleetState, state: TenantState, row: Fact, event: ev.Restored) -> None:
    _ended(state)
    state.left = {}
    state.mark = event.mark
    state.applied = fleet.intern(event.applied)


def _added(
    fleet: FleetState, state: TenantState, row: Fact, event: ev.Baselined | ev.Imported
) -> None:
    _ended(state)
    _whole(state, *event.migrations)
    state.mark = event.mark
    applied = state.applied
    for ref in event.migrations:
        applied = joined(applied, ref)
    state.applied = fleet.intern(applied)
    state.adopted = True


def _reset(fleet: FleetState, state: TenantState, row: Fact, event: ev.Reset) -> None:
    _ended(state)
    state.left = {}
    state.mark = event.mark
    state.applied = fleet.intern(event.applied)
    state.adopted = event.mode == "mark_only"


def _maintained(fleet: FleetState, state: TenantState, row: Fact, event: ev.Maintained) -> None:
    """Versions, what the tenant should be, and what is known of a failed migration stay as they were."""
    state.claim = None
    state.reference = state.expected
    state.mark = event.mark


def _lock_cleared(fleet: FleetState, state: TenantState, row: Fact, event: ev.LockCleared) -> None:
    state.claim = None
    state.epoch = max(state.epoch, event.epoch)


def _resolved(fleet: FleetState, state: TenantState, row: Fact, event: ev.Resolved) -> None:
    state.failure = None
    state.resolution = Resolution(
        set=event.set,
        version=event.version,
        direction=event.direction,
        step=event.step,
        how=event.how,
    )


def _skipped(fleet: FleetState, state: TenantState, row: Fact, event: ev.TenantSkipped) -> None:
    if event.code != "unreachable":
        # Of this run alone: it says nothing about where the tenant stands.
        state.set_aside = True
        return
    state.skipped = event.reason
    state.skipped_detail = event.detail


def _drift(fleet: FleetState, state: TenantState, row: Fact, event: ev.DriftDetected) -> None:
    if event.wish:
        return
    if not event.whole and not (event.aside and state.drift == "schema"):
        state.drift = "" if event.kind == "cleared" else event.kind
        state.drift_changes = len(event.changes)
    if event.mark.fingerprint:
        state.mark = event.mark
    if event.kind == "schema":
        state.reference = event.expected
    elif event.aside and event.reference:
        state.reference = event.reference
    elif event.mark.fingerprint:
        # A drift that is gone has left the tenant as it should be: its mark is the measure again.
        state.reference = ""
    state.skipped = state.skipped_detail = ""
    if event.failure:
        state.failure = None
    if event.kind == "regressed":
        state.applied = fleet.intern(event.applied)
        state.adopted = False
        state.reference = event.reference
        if state.mark is not None and not event.reference:
            state.mark = msgspec.structs.replace(state.mark, fingerprint=None)
    if event.kind == "regressed" or event.whole:
        state.intent = None
        state.left = {}
        _forget_steps(state)


def _accepted(fleet: FleetState, state: TenantState, row: Fact, event: ev.DriftAccepted) -> None:
    if state.drift == "schema":
        state.drift = ""
        state.drift_changes = 0
    state.mark = event.mark
    state.reference = event.found if event.mark.fingerprint != event.found else ""
    state.adopted = False
    state.skipped = state.skipped_detail = ""


def _validated(fleet: FleetState, state: TenantState, row: Fact, event: ev.Validated) -> None:
    state.skipped = state.skipped_detail = ""
    state.validated_at = row[2]


_Handler = Callable[[FleetState, TenantState, Fact, Any], None]

_TENANT_HANDLERS: Final[Mapping[type[Any], _Handler]] = {
    ev.Started: _started,
    ev.BackupCreated: _backup_created,
    ev.StepStarted: _step_started,
    ev.StepApplied: _step_done,
    ev.StepSkipped: _step_done,
    ev.Validated: _validated,
    ev.Completed: _completed,
    ev.Failed: _failed,
    ev.RolledBack: _rolled_back,
    ev.Restored: _restored,
    ev.Baselined: _added,
    ev.Imported: _added,
    ev.LockCleared: _lock_cleared,
    ev.Resolved: _resolved,
    ev.TenantSkipped: _skipped,
    ev.DriftDetected: _drift,
    ev.DriftAccepted: _accepted,
    ev.Reset: _reset,
    ev.Maintained: _maintained,
}


def _fold_run(fleet: FleetState, row: Fact, event: ev.AnyEvent) -> None:
    seq, version, at, name, actor, _, _ = row
    if isinstance(event, ev.FleetSeen):
        fleet.seen[event.scope] = Seen(scope=event.scope, fleet=event.fleet, at=at, seq=seq)
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


class _StoredTenant(msgspec.Struct, kw_only=True, omit_defaults=True):
    state: TenantState
    applied: str = ""


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_TENANT_DECODER: Final = msgspec.json.Decoder(_StoredTenant)
_RUN_DECODER: Final = msgspec.json.Decoder(RunState)
_SEEN_DECODER: Final = msgspec.json.Decoder(Seen)
_APPLIED_DECODER: Final = msgspec.json.Decoder(Applied)


def dump(fleet: FleetState, keys: Iterable[str]) -> dict[str, bytes]:
    """The stored rows for `keys` (`tenant/NAME`, `run/ID`, `seen/SCOPE`), with the applied sets that they refer to."""
    rows: dict[str, bytes] = {}
    digests: dict[int, str] = {}
    for key in keys:
        kind, _, name = key.partition("/")
        if kind == "run":
            rows[key] = _ENCODER.encode(fleet.runs[name])
        elif kind == "seen":
            rows[key] = _ENCODER.encode(fleet.seen[name])
        elif kind == "tenant":
            state = fleet.tenants[name]
            digest = digests.get(id(state.applied))
            if digest is None and state.applied:
                content = _ENCODER.encode(state.applied)
                digest = digests[id(state.applied)] = hashlib.sha256(content).hexdigest()
                rows[f"applied/{digest}"] = content
            rows[key] = _ENCODER.encode(
                _StoredTenant(
                    state=msgspec.structs.replace(state, applied=()), applied=digest or ""
                )
            )
    return rows


def load(seq: int, rows: Iterable[tuple[str, bytes]]) -> FleetState:
    """The state that `dump` wrote. Raises ChainBrokenError for what it never wrote."""
    try:
        return _load(seq, rows)
    except (
        msgspec.DecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ChainBrokenError(
            f"the stored projections cannot be read: {error}",
            seq=0,
            hint="`ledger verify --rebuild` replaces them by a replay of the events.",
        ) from error


def _load(seq: int, rows: Iterable[tuple[str, bytes]]) -> FleetState:
    fleet = FleetState(seq=seq, stored_seq=seq)
    applied: dict[str, Applied] = {"": ()}
    stored: list[_StoredTenant] = []
    for key, content in rows:
        kind, _, name = key.partition("/")
        if kind == "applied":
            applied[name] = fleet.intern(_APPLIED_DECODER.decode(content))
        elif kind == "run":
            fleet.runs[name] = _RUN_DECODER.decode(content)
        elif kind == "seen":
            fleet.seen[name] = _SEEN_DECODER.decode(content)
        else:
            stored.append(_TENANT_DECODER.decode(content))
    for row in stored:
        row.state.applied = applied[row.applied]
        fleet.tenants[row.state.tenant] = row.state
    return fleet


def all_keys(fleet: FleetState) -> list[str]:
    """Every row key of a state."""
    keys = [f"tenant/{name}" for name in fleet.tenants]
    return keys + [f"run/{run}" for run in fleet.runs] + [f"seen/{one}" for one in fleet.seen]
