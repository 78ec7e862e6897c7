"""A migration as it ran: its texts and steps by checksum, and on which tenants it was applied and undone.

Invariant: the ledger alone is read. What a restore, a reset or a regression took away or brought back
counts as what it was: an application ends with whatever took the migration out of the applied set.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from ledger import events as ev
from ledger.calls.texts import KeptMigration, kept_migration
from ledger.errors import UsageError
from ledger.events import MigrationRef, Recorded
from ledger.stores.base import Filter
from ledger.stores.store import Store

How = Literal["applied", "baselined", "imported", "restored", "reset", "regressed", "failed"]
Undoing = Literal["rolled_back", "restored", "reset", "regressed"]

TYPES: Final = (
    "started", "completed", "failed", "rolled_back", "restored", "baselined", "imported", "reset",
    "drift_detected",
)  # fmt: skip


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """The event that took the migration out of a tenant's applied set."""

    how: Undoing
    seq: int
    at: str
    run: str
    actor: str


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One time that the migration came to count as applied on a tenant, or `failed` there.

    `seq` and what follows is of the event that says so. `checksum` names the text, `undone` is what
    ended it.
    """

    tenant: str
    how: How
    checksum: str
    seq: int
    at: str
    run: str
    actor: str
    duration_us: int | None = None
    step: int | None = None
    undone: Undone | None = None


class ShownMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A migration by its id; `editions` are its texts, one for each checksum that ran, oldest first."""

    id: str
    editions: tuple[KeptMigration, ...]
    ran: tuple[Ran, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Tenants by where their last time stands: `applied` and the other words of `how`, or `undone`."""
        last = {one.tenant: one.how if one.undone is None else "undone" for one in self.ran}
        found: dict[str, int] = {}
        for word in last.values():
            found[word] = found.get(word, 0) + 1
        return found


async def show_migration(store: Store, name: str, tenant: str | None) -> ShownMigration:
    """`name` is VERSION or SET/VERSION. Raises UsageError for none, and for one of several sets."""
    history = _History(name)
    where = Filter(stream=f"tenant/{tenant}" if tenant is not None else None, types=TYPES)
    async for rows in store.read(where):
        for row in rows:
            history.take(row)
    found = history.found
    if not found:
        raise _unknown(name, history.others, tenant)
    if len(found) > 1:
        raise UsageError(
            f"{name} is in {len(found)} sets: {', '.join(sorted(found))}",
            hint=f"Name one of them: `ledger show {min(found)}`.",
        )
    ((found_id, editions),) = found.items()
    return ShownMigration(
        id=found_id,
        editions=tuple(
            [await kept_migration(store, ref, engine) for ref, engine in editions.values()]
        ),
        ran=tuple(one for many in history.ran.values() for one in many),
    )


class _History:
    """Takes events in, in seq order, and keeps what they say of one migration."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._engines: dict[str, str] = {}
        self._editions: dict[str, str] = {}
        self.found: dict[str, dict[str, tuple[MigrationRef, str]]] = {}
        self.ran: dict[tuple[str, str], list[Ran]] = {}
        self.others: set[str] = set()

    def take(self, row: Recorded) -> None:
        """Take in what counts of an event."""
        tenant, event = row.tenant, row.data
        if tenant is None:
            return
        if isinstance(event, ev.Started):
            self._engines[tenant] = event.engine
            for ref in self._of(ev.migrations_in(event), tenant):
                self._editions[f"{tenant} {ref.id}"] = ref.checksum
        elif isinstance(event, ev.Completed):
            self._add(row, "applied", (event.migration,), duration_us=event.duration_us)
        elif isinstance(event, ev.Baselined):
            self._add(row, "baselined", event.migrations)
        elif isinstance(event, ev.Imported):
            self._add(row, "imported", event.migrations)
        elif isinstance(event, ev.RolledBack):
            for ref in self._of((event.migration,), tenant):
                self._end(row, ref.id, "rolled_back")
        elif isinstance(event, ev.Restored):
            self._became(row, "restored", event.applied)
        elif isinstance(event, ev.Reset):
            self._became(row, "reset", event.applied)
        elif isinstance(event, ev.DriftDetected) and event.kind == "regressed":
            self._became(row, "regressed", event.applied)
        elif isinstance(event, ev.Failed):
            self._failed(row, event)

    def _of(self, refs: Iterable[MigrationRef], tenant: str) -> Iterator[MigrationRef]:
        """Those of `refs` that the name means."""
        for ref in refs:
            if self._name in (ref.id, ref.version):
                self.found.setdefault(ref.id, {}).setdefault(
                    ref.checksum, (ref, self._engines.get(tenant, ""))
                )
                yield ref
            else:
                self.others.add(ref.id)

    def _add(
        self,
        row: Recorded,
        how: How,
        refs: Iterable[MigrationRef],
        *,
        duration_us: int | None = None,
    ) -> None:
        for ref in self._of(refs, row.tenant or ""):
            self._append(row, how, ref.id, ref.checksum, duration_us=duration_us)

    def _append(
        self,
        row: Recorded,
        how: How,
        migration: str,
        checksum: str,
        *,
        duration_us: int | None = None,
        step: int | None = None,
    ) -> None:
        tenant = row.tenant or ""
        self.ran.setdefault((tenant, migration), []).append(
            Ran(
                tenant=tenant,
                how=how,
                checksum=checksum,
                seq=row.seq,
                at=row.at,
                run=row.run,
                actor=row.actor,
                duration_us=duration_us,
                step=step,
            )
        )

    def _failed(self, row: Recorded, event: ev.Failed) -> None:
        migration = f"{event.set}/{event.version}"
        if event.direction == "up" and migration in self.found:
            checksum = self._editions.get(f"{row.tenant} {migration}", "")
            self._append(row, "failed", migration, checksum, step=event.step)

    def _standing(self, tenant: str, migration: str) -> Ran | None:
        many = self.ran.get((tenant, migration), ())
        return next((one for one in reversed(many) if one.how != "failed" and not one.undone), None)

    def _end(self, row: Recorded, migration: str, how: Undoing) -> None:
        standing = self._standing(row.tenant or "", migration)
        if standing is None:
            return
        undone = Undone(how=how, seq=row.seq, at=row.at, run=row.run, actor=row.actor)
        many = self.ran[standing.tenant, migration]
        many[many.index(standing)] = msgspec.structs.replace(standing, undone=undone)

    def _became(
        self,
        row: Recorded,
        how: Literal["restored", "reset", "regressed"],
        applied: Iterable[MigrationRef],
    ) -> None:
        """The applied set is `applied` from here on, whatever it was."""
        tenant = row.tenant or ""
        now = {ref.id: ref for ref in self._of(applied, tenant)}
        for ref in now.values():
            if self._standing(tenant, ref.id) is None:
                self._append(row, how, ref.id, ref.checksum)
        for migration in [each for name, each in self.ran if name == tenant and each not in now]:
            self._end(row, migration, how)


def _unknown(name: str, others: set[str], tenant: str | None) -> UsageError:
    near = difflib.get_close_matches(name, [*others, *(one.rpartition("/")[2] for one in others)])
    where = f" on tenant {tenant!r}" if tenant is not None else ""
    return UsageError(
        f"no migration {name!r} ever ran{where}, as far as the ledger knows",
        hint=f"Did you mean {', '.join(dict.fromkeys(near))}?"
        if near
        else "`ledger plan` shows what is pending, `ledger history` what ran.",
    )
