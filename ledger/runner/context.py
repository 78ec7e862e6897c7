"""What all tenants of one run share: the ledger, the folded state, the run's lease.

Invariant: an event is folded into the state only after it is durable, and a
tenant's stream is folded without gaps: where there is one, the stream is read anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from ledger import events as ev
from ledger.dialects.steps import DialectName
from ledger.errors import ConflictError, FencedError, TenantError
from ledger.events import AnyEvent, NewEvent, Recorded
from ledger.projections import FleetState, TenantState
from ledger.runner import logs
from ledger.runner.holder import boottime_seconds, this_holder
from ledger.runner.references import Peers, References
from ledger.scripts.model import Migration
from ledger.scripts.placeholders import bind
from ledger.scripts.queries import Query
from ledger.stores.base import Append, Filter, Prepared, Script
from ledger.stores.store import Store

if TYPE_CHECKING:
    from ledger.requests import BackupPolicy


_BAD_ENDS: Final = frozenset({"failed", "tenant_skipped"})
"""Events that say why a run left a tenant where it was."""


class Watcher(Protocol):
    """What a run reports of a tenant in passing. Must not raise."""

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str) -> None: ...

    def note(self, name: str, text: str) -> None: ...

    def backed_up(self, name: str, path: str) -> None: ...


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about running. `wait_seconds` is how long another's claim is waited for.

    `explain` are the queries whose plans are looked at before and after each migration.
    """

    backups: Path
    backup: BackupPolicy = "always"
    lease_seconds: float = 60.0
    wait_seconds: float = 600.0
    backup_seconds: float = 3600.0
    statement_seconds: float = 3600.0
    strict: bool = False
    explain: dict[DialectName, tuple[Query, ...]] = {}


class Begun(NamedTuple):
    """What the bulk path has done on a tenant that falls back, under the claim that goes on, and how long
    it has worked on it.
    """

    done: tuple[str, ...] = ()
    steps: int = 0
    skipped: int = 0
    backup: str | None = None
    worked_us: int = 0


class RunContext:
    """One run. `fleet` is shared by all its tenants; the event loop's single thread guards it.

    `peers` gives all tenants of the configuration, whether the run concerns them or not.
    """

    def __init__(
        self,
        *,
        store: Store,
        ledger_id: str,
        fleet: FleetState,
        settings: Settings,
        command: ev.Command,
        run: str,
        actor: str,
        watcher: Watcher,
        reason: str = "",
        peers: Peers | None = None,
    ) -> None:
        self.store = store
        self.ledger_id = ledger_id
        self.fleet = fleet
        self.settings = settings
        self.command: ev.Command = command
        self.run = run
        self.actor = actor
        self.watcher = watcher
        self.reason = reason
        self.holder = this_holder()
        self.base_seq = fleet.seq
        self.own_events = 0
        self.last_own_seq = fleet.seq
        self.references = References(store, fleet, peers)
        self.kept: set[str] = set()
        self.durable: set[Path] = set()
        self.begun: dict[str, Begun] = {}
        self.bad_ends: set[str] = set()
        self.parsed: dict[tuple[ev.MigrationRef, DialectName], Migration] = {}
        self._bound: dict[tuple[int, tuple[tuple[str, str], ...]], tuple[Migration, Migration]] = {}
        self._lease_until = boottime_seconds() + settings.lease_seconds

    def state(self, tenant: str) -> TenantState:
        """The tenant as far as this run knows."""
        return self.fleet.tenant(tenant)

    async def record(
        self,
        tenant: str,
        events: Sequence[AnyEvent],
        *,
        scripts: Mapping[str, str] | None = None,
        algorithm: str = "sha256",
    ) -> tuple[Recorded, ...]:
        """Append to the tenant's stream at the version known here, and fold. Raises ConflictError."""
        new = {key: text for key, text in (scripts or {}).items() if key not in self.kept}
        recorded = await self.store.append(
            Append(
                stream=f"tenant/{tenant}",
                events=tuple(self._new(event) for event in events),
                expected=self.state(tenant).version,
                scripts=tuple(
                    Script(sha256=key, content=text, algorithm=algorithm)
                    for key, text in new.items()
                ),
            )
        )
        self.kept.update(new)
        self.fold(recorded)
        return recorded

    def prepared(
        self,
        tenant: str,
        events: Sequence[tuple[str, bytes]],
        *,
        scripts: Mapping[str, str] | None = None,
    ) -> Prepared:
        """A request for encoded events (type and body) on the tenant's stream, at the version known here.

        For `Store.append_all`, whose results `fold` takes. A text counts as kept only
        then: those of one batch may come twice, and are stored once.
        """
        new = [
            Script(sha256=key, content=text, algorithm="sha256")
            for key, text in (scripts or {}).items()
            if key not in self.kept
        ]
        return Prepared(
            stream=f"tenant/{tenant}",
            events=tuple([(kind, self.run, self.actor, body) for kind, body in events]),
            size=sum([len(body) for _, body in events]) + sum(len(one.content) for one in new),
            expected=self.state(tenant).version,
            scripts=tuple(new),
        )

    def keep(self, scripts: Iterable[Script]) -> None:
        """The ledger has these texts by now."""
        self.kept.update(script.sha256 for script in scripts)

    async def record_claimed(
        self,
        tenant: str,
        events: Sequence[AnyEvent],
        *,
        scripts: Mapping[str, str] | None = None,
        algorithm: str = "sha256",
    ) -> tuple[Recorded, ...]:
        """Append under this run's claim. Raises FencedError, having appended nothing, if it is lost.

        A conflict says so, and so does what was read after an earlier one: a run that asks
        again must not append behind its successor.
        """
        claim = self.state(tenant).claim
        if claim is None or claim.run != self.run:
            raise self._lost(tenant)
        return await self.record_last(tenant, events, scripts=scripts, algorithm=algorithm)

    async def record_last(
        self,
        tenant: str,
        events: Sequence[AnyEvent],
        *,
        scripts: Mapping[str, str] | None = None,
        algorithm: str = "sha256",
    ) -> tuple[Recorded, ...]:
        """Append what follows from the tenant's state as known here, claimed or not.

        Raises FencedError if another run has appended since.
        """
        try:
            return await self.record(tenant, events, scripts=scripts, algorithm=algorithm)
        except ConflictError as conflict:
            await self.refresh(tenant)
            raise self._lost(tenant) from conflict

    def _lost(self, tenant: str) -> FencedError:
        return FencedError(
            "the claim has passed to another run", found=self.state(tenant).epoch, tenant=tenant
        )

    async def record_run(self, *events: AnyEvent, scripts: Mapping[str, str] | None = None) -> None:
        """Append to the run's own stream."""
        await self._record_apart(f"run/{self.run}", events, scripts or {})

    async def record_fleet(self, event: ev.FleetSeen, *, scripts: Mapping[str, str]) -> None:
        """Append what the sources name now, where no run is begun."""
        await self._record_apart("fleet", (event,), scripts)

    async def _record_apart(
        self, stream: str, events: Sequence[AnyEvent], scripts: Mapping[str, str]
    ) -> None:
        recorded = await self.store.append(
            Append(
                stream=stream,
                events=tuple(self._new(event) for event in events),
                scripts=tuple(Script(sha256=key, content=text) for key, text in scripts.items()),
            )
        )
        self.fold(recorded)

    async def refresh(self, tenant: str) -> TenantState:
        """Read what others appended to the tenant's stream, and to the runs that it names."""
        await self._fold_stream(f"tenant/{tenant}", self.state(tenant).seq)
        claim = self.state(tenant).claim
        if claim is not None and claim.run != self.run:
            await self._fold_stream(f"run/{claim.run}", 0)
        return self.state(tenant)

    async def renew_lease(self) -> None:
        """One event for all claims of this run; the lease counts from before the append was sent."""
        asked_at = boottime_seconds()
        await self.record_run(ev.LeaseRenewed(lease_seconds=self.settings.lease_seconds))
        self.lease_renewed(asked_at + self.settings.lease_seconds)

    def lease_renewed(self, until: float) -> None:
        """The run's lease lasts until then, on the boot-time clock."""
        self._lease_until = until

    @property
    def lease_until(self) -> float:
        """When this run's lease ends, on the boot-time clock."""
        return self._lease_until

    @property
    def lease_over(self) -> bool:
        """Whether this runner's own lease has run out: others may have taken over."""
        return boottime_seconds() > self._lease_until

    def check_lease(self, tenant: str) -> None:
        """Raises FencedError if this runner's own lease has run out: others may have taken over."""
        if self.lease_over:
            raise FencedError(
                "this run's lease ran out (the process was stopped, or the ledger out of reach)",
                found=self.state(tenant).epoch,
                tenant=tenant,
            )

    def bound(self, migration: Migration, variables: Mapping[str, str]) -> Migration:
        """The migration with its placeholders replaced; kept for tenants with the same variables.

        What was bound is kept with it: an id says which object it is only while that lives.
        """
        key = (id(migration), tuple(sorted(variables.items())))
        found = self._bound.get(key)
        if found is None:
            found = (migration, bind(migration, variables))
            if len(self._bound) < 4096:
                self._bound[key] = found
        return found[1]

    def _new(self, event: AnyEvent) -> NewEvent:
        return NewEvent(event=event, run=self.run, actor=self.actor)

    def fold(self, rows: Sequence[Recorded]) -> None:
        """Take in what this run appended."""
        self.fleet.fold(rows)
        self.bad_ends.update(row.tenant for row in rows if row.tenant and row.type in _BAD_ENDS)
        logs.log_events(rows)
        self.own_events += len(rows)
        self.last_own_seq = max(self.last_own_seq, rows[-1].seq)

    async def _fold_stream(self, stream: str, after_seq: int) -> None:
        async for rows in self.store.read(Filter(stream=stream, after_seq=after_seq)):
            self.fleet.fold(rows)


def failed_event(
    command: ev.Command,
    error: TenantError,
    *,
    migration: ev.MigrationRef | None,
    direction: ev.Direction,
    duration_us: int,
    landed: tuple[int, ...] = (),
) -> ev.Failed:
    """The end event of a claim that met `error`."""
    return ev.Failed(
        command=command,
        error=error.code,
        message=error.message,
        direction=direction,
        set=migration.set if migration else None,
        version=migration.version if migration else None,
        step=getattr(error, "step", None),
        database_code=getattr(error, "database_code", ""),
        file=error.file,
        line=error.line,
        hint=error.hint,
        in_doubt=error.code == "in_doubt",
        evidence=getattr(error, "evidence", {}),
        duration_us=duration_us,
        landed=landed,
    )
