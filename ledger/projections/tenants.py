"""The state of a tenant, as its stream says."""

from __future__ import annotations

import msgspec

from ledger import events as ev
from ledger.events import Holder, Mark, MigrationRef
from ledger.projections.applied import Applied


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
        return self.ref.id

    @property
    def applied(self) -> tuple[int, ...]:
        """The up steps that have run here."""
        return tuple(step for step in self.landed if step not in self.skipped)


class TenantState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One tenant as its stream says.

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
        here = self.landed_in == f"{ref.id} up"
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
