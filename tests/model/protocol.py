"""The claim and settling protocol as a pure state machine: two runners, one tenant, one ledger.

It decides with the product's own pure parts: real events, folded by `FleetState`, and
the same two rules (who may take a claim over; what a tenant admits). Only time, crashes
and the tenant itself are a model: a marker with an epoch, and whether each step landed.

The guards are data, so that a test can take one away and see the invariants fail.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from ledger import events as ev
from ledger.errors import ConflictError
from ledger.events import Holder, MigrationRef, Recorded
from ledger.projections import FleetState, TenantState, parse_time

Guard = Literal["version", "lease", "fence", "marker", "intent", "life"]
GUARDS: Final[frozenset[Guard]] = frozenset(
    {"version", "lease", "fence", "marker", "intent", "life"}
)
TENANT: Final = "acme"
STEPS: Final = 4
ROWS: Final = 2
"""The step that shares a transaction with the marker, and needs no intent; the others are DDL.

Those after it make something new: one intent announces both."""

LEASE_SECONDS: Final = 10.0
REF: Final = MigrationRef(set="app", version="1", name="one", checksum="0")
START: Final = 1_800_000_000.0


def at(seconds: float) -> str:
    """An event's `at`."""
    return datetime.fromtimestamp(START + seconds, UTC).isoformat().replace("+00:00", "Z")


class Store:
    """The ledger: an append that arbitrates by the stream's version, and a clock of its own."""

    def __init__(self, guards: frozenset[Guard]) -> None:
        self.rows: list[Recorded] = []
        self.clock = 0.0
        self._guards = guards

    def append(
        self, stream: str, expected: int, run: str, events: list[ev.AnyEvent]
    ) -> list[Recorded]:
        """All or none. Raises ConflictError."""
        version = sum(row.stream == stream for row in self.rows)
        if "version" in self._guards and version != expected:
            raise ConflictError(stream, expected=expected, found=version)
        added = [
            Recorded(
                seq=len(self.rows) + number,
                stream=stream,
                version=version + number,
                type=str(type(event).__struct_config__.tag),
                at=at(self.clock),
                run=run,
                actor=run,
                tenant=TENANT,
                body=ev.encode_body(event),
            )
            for number, event in enumerate(events, start=1)
        ]
        self.rows += added
        return added


class Tenant:
    """The database: its marker, and what every executed statement did. DDL and marker commit apart."""

    def __init__(self, guards: frozenset[Guard]) -> None:
        self.epoch = 0
        self.marked = 0
        self.executed: list[tuple[int, int]] = []
        self._guards = guards

    @property
    def landed(self) -> int:
        """How many steps have landed, as a look at the touched objects tells."""
        return max((step for _, step in self.executed), default=0)

    def fence(self, epoch: int) -> bool:
        """Whether the epoch is admitted; then nobody below it is any more."""
        if "fence" in self._guards and epoch < self.epoch:
            return False
        self.epoch = max(self.epoch, epoch)
        return True

    def execute(self, epoch: int, step: int) -> bool:
        """One statement by the session of `epoch`; a fenced session has been ended on the server."""
        if "fence" in self._guards and epoch != self.epoch:
            return False
        self.executed.append((epoch, step))
        return True

    def mark(self, epoch: int, step: int) -> bool:
        """The marker's write."""
        if "fence" in self._guards and epoch != self.epoch:
            return False
        self.marked = step
        return True


class Runner:
    """One process. `phase` is where in its work it is; a crash makes another process of it."""

    def __init__(self, name: str, store: Store, tenant: Tenant, guards: frozenset[Guard]) -> None:
        self.name = name
        self.store = store
        self.tenant = tenant
        self.guards = guards
        self.life = 0
        self.phase: str = "idle"
        self.epoch = 0
        self.step = 0
        self.announced = 0
        self.fleet = FleetState()
        self.pending: list[ev.AnyEvent] = []
        self.lease_until = -1.0

    @property
    def run(self) -> str:
        """This process' run."""
        return f"{self.name}{self.life}"

    @property
    def state(self) -> TenantState:
        """What this runner knows of the tenant."""
        return self.fleet.tenant(TENANT)

    def crash(self) -> None:
        """kill -9, and a new process in its place."""
        self.life += 1
        self.phase, self.pending, self.fleet = "idle", [], FleetState()

    def look(self) -> None:
        """Fold what the ledger has."""
        self.fleet.fold(row for row in self.store.rows if row.seq > self.fleet.seq)

    def _record(self, events: list[ev.AnyEvent]) -> bool:
        """Append under what is known here; losing means that the claim is another's."""
        try:
            added = self.store.append(f"tenant/{TENANT}", self.state.version, self.run, events)
        except ConflictError:
            self.phase, self.pending = "idle", []
            return False
        self.look() if added[0].seq > self.fleet.seq + 1 else self.fleet.fold(added)
        return True

    def claim(self, *, alive: frozenset[str], clock_skew: float) -> None:
        """Claim it, if that may be: nothing held, its process gone, or its lease over by my clock."""
        self.look()
        state = self.state
        if REF in state.applied:
            self.phase = "done"
            return
        events: list[ev.AnyEvent] = []
        held = state.claim
        if held is not None and held.run != self.run:
            gone = held.run not in alive
            over = self.fleet.lease_end(held) <= parse_time(at(self.store.clock + clock_skew))
            if not ((gone and "life" in self.guards) or over or "lease" not in self.guards):
                return
            events.append(ev.LockCleared(epoch=held.epoch, reason="taken over"))
        self.epoch = state.epoch + 1
        holder = Holder(host="h", boot="b", pid=1, started=1, nonce=self.run)
        events.append(
            ev.Started(
                command="migrate",
                epoch=self.epoch,
                holder=holder,
                lease_seconds=LEASE_SECONDS,
                engine="mysql",
                direction="up",
                migration=REF,
                steps=STEPS,
            )
        )
        if self._record(events):
            self.phase = "claimed"

    def fence(self) -> None:
        """Take the tenant: its lock, its epoch."""
        if not self.tenant.fence(self.epoch):
            self.phase = "idle"
            return
        self.phase = "fenced"
        self.step = self.tenant.marked if "marker" in self.guards else 0
        intent = self.state.intent
        if intent is not None and "intent" in self.guards:
            # The step before an announced one has landed; itself, if its objects have changed.
            last = max([intent.step, *(one.step for one in intent.ahead)])
            self.step = max(self.step, intent.step - 1, min(self.tenant.landed, last))
        self.announced = 0
        recorded = set(self.state.landed)
        self.pending = [
            self._applied(step) for step in range(1, self.step + 1) if step not in recorded
        ]

    def _applied(self, step: int) -> ev.StepApplied:
        return ev.StepApplied(
            set="app", version="1", direction="up", step=step, of=STEPS, name="", statement="s"
        )

    def announce(self) -> None:
        """The intent, durable with all results before it, ahead of the statement and of those it announces."""
        step = self.step + 1
        if step <= self.announced:
            self.phase = "announced"
            return
        last = STEPS if step > ROWS else step
        ahead = [ev.AheadStep(step=more, statement="s") for more in range(step + 1, last + 1)]
        events = [
            *self.pending,
            ev.StepStarted(
                set="app",
                version="1",
                direction="up",
                step=step,
                statement="s",
                before="b",
                ahead=tuple(ahead),
            ),
        ]
        if self._record(events):
            self.pending = []
            self.announced = last
            self.phase = "announced"

    def execute(self) -> None:
        """The statement."""
        if not self.tenant.execute(self.epoch, self.step + 1):
            self.phase = "idle"
            return
        self.step += 1
        self.pending.append(self._applied(self.step))
        self.phase = "executed"

    def rows(self) -> None:
        """A statement of rows: its effect and the marker are one commit."""
        if not self.tenant.execute(self.epoch, self.step + 1):
            self.phase = "idle"
            return
        self.step += 1
        self.tenant.mark(self.epoch, self.step)
        self.pending.append(self._applied(self.step))

    def mark(self) -> None:
        """The marker, after the statement."""
        self.phase = "fenced" if self.tenant.mark(self.epoch, self.step) else "idle"

    def complete(self) -> None:
        """The results and the end, in one append."""
        if self._record(
            [*self.pending, ev.Completed(command="migrate", migration=REF, duration_us=0)]
        ):
            self.pending = []
            self.phase = "done"


def problems(store: Store, tenant: Tenant) -> list[str]:
    """What is wrong: a step twice, out of order, by one who was fenced; or recorded wrongly."""
    found = []
    steps = [step for _, step in tenant.executed]
    if steps != list(range(1, len(steps) + 1)):
        found.append(f"executed {tenant.executed}")
    epochs = [epoch for epoch, _ in tenant.executed]
    if epochs != sorted(epochs):
        found.append(f"an older claim wrote after a newer one: {tenant.executed}")
    recorded = []
    completed = 0
    for row in store.rows:
        event = row.data
        if isinstance(event, ev.StepApplied):
            recorded.append(event.step)
        completed += isinstance(event, ev.Completed)
    if recorded != list(range(1, len(recorded) + 1)):
        found.append(f"recorded {recorded}")
    if not set(recorded) <= set(steps):
        found.append(f"recorded {recorded}, executed {steps}")
    if completed > 1:
        found.append("completed twice")
    if completed and steps != list(range(1, STEPS + 1)):
        found.append(f"completed with {steps}")
    versions = [row.version for row in store.rows]
    if versions != list(range(1, len(versions) + 1)):
        found.append("versions have gaps")
    return found
