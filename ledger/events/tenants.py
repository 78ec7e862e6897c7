"""Events of a tenant: claims and their ends, backups, checks, drift, and what a person decided."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.events.base import (
    Change,
    CheckResult,
    Command,
    Direction,
    Event,
    Holder,
    Mark,
    MigrationRef,
)


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """The claim of a tenant for one migration (or one restore, baseline, …).

    `epoch` is the fence: +1 with each claim. The claim ends with the next end
    event on the stream, or when the runner's lease (`lease_seconds` after this
    event's `at`, or after the run's last lease_renewed) has run out.
    """

    command: Command
    lease_seconds: float
    engine: str
    direction: Direction = "up"
    migration: MigrationRef | None = None
    steps: int = 0
    reason: str = ""
    holder: Holder
    epoch: int


class BackupCreated(Event, frozen=True, kw_only=True, tag="backup_created"):
    """A verified backup. `covers` says what is inside (`database`, `prefix wp_2_`).

    `left_out` are objects that may be the tenant's and are not in it; `broken` are views that
    refer to what is not there, of which it holds the definition.
    """

    format: Literal["sqlite", "sql.zst"]
    covers: str
    applied: tuple[MigrationRef, ...] = ()
    left_out: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    fingerprint: str | None = None
    path: str
    bytes: int
    sha256: str
    duration_us: int = 0


class BackupPruned(Event, frozen=True, kw_only=True, tag="backup_pruned"):
    """A backup is not to be restored any more: its file is deleted right after this is durable.

    `backup_seq` is the seq of its backup_created, whose path, size and hash these are.
    """

    backup_seq: int
    path: str
    bytes: int
    sha256: str
    reason: str = ""


class Validated(Event, frozen=True, kw_only=True, tag="validated"):
    """Checks were run. `passed` is true when all held.

    `against` is the fingerprint of the schema that the tenant's was compared with, where
    that was not the recorded one.
    """

    set: str | None = None
    version: str | None = None
    passed: bool
    checks: tuple[CheckResult, ...] = ()
    fingerprint: str | None = None
    against: str = ""


PlanChange = Literal["same", "changed", "new", "broken", "not_yet"]


class QueryPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the database runs one named query, in its own words; `statement` is the SHA-256 of its text.

    `how`: `changed` — another plan than before; `new` — it could not run before;
    `broken` — it cannot run any more; `not_yet` — neither before nor after. `before`
    is given where the plan changed or broke, `detail` is why it cannot run.
    """

    name: str
    statement: str
    how: PlanChange
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    detail: str = ""


class Explained(Event, frozen=True, kw_only=True, tag="explained"):
    """Named queries were explained before and after a migration (`migrate --explain`)."""

    set: str
    version: str
    plans: tuple[QueryPlan, ...]


class Completed(Event, frozen=True, kw_only=True, tag="completed"):
    """The end event of a migration that was applied: its version joins the applied set.

    `bytes_before` is the size of the tenant before its first step; the size after it is the mark's.
    """

    command: Command
    migration: MigrationRef
    duration_us: int
    mark: Mark = Mark()
    bytes_before: int | None = None


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """The end event of a claim that did not reach its end. `error` is a stable word, `message` the database's.

    `landed` are the up steps of the migration that have landed in the tenant and stay.
    """

    command: Command
    error: str
    message: str
    direction: Direction = "up"
    set: str | None = None
    version: str | None = None
    step: int | None = None
    database_code: str = ""
    file: str | None = None
    line: int | None = None
    hint: str = ""
    in_doubt: bool = False
    evidence: dict[str, str] = msgspec.field(default_factory=dict)
    duration_us: int = 0
    landed: tuple[int, ...] = ()


class RolledBack(Event, frozen=True, kw_only=True, tag="rolled_back"):
    """The end event of a migration that was undone by its down steps: its version leaves the applied set."""

    migration: MigrationRef
    reason: str = ""
    duration_us: int
    mark: Mark = Mark()


class Restored(Event, frozen=True, kw_only=True, tag="restored"):
    """The end event of a restore: the applied set is again what it was at the backup."""

    applied: tuple[MigrationRef, ...] = ()
    lost: tuple[MigrationRef, ...] = ()
    reason: str = ""
    path: str
    sha256: str
    backup_seq: int
    duration_us: int = 0
    mark: Mark = Mark()


class Baselined(Event, frozen=True, kw_only=True, tag="baselined"):
    """The end event of a baseline: these migrations count as applied without having run here."""

    migrations: tuple[MigrationRef, ...]
    reason: str = ""
    mark: Mark = Mark()


class Imported(Event, frozen=True, kw_only=True, tag="imported"):
    """The end event of an import from another tool's history table."""

    migrations: tuple[MigrationRef, ...]
    source: str
    mark: Mark = Mark()


class LockCleared(Event, frozen=True, kw_only=True, tag="lock_cleared"):
    """A person or a take-over ended a claim.

    `epoch` is the claim's, which the next claim fences; where a person ended it, it is the one that
    was set as the fence in the tenant before this was recorded.
    """

    epoch: int
    reason: str
    holder: Holder | None = None


class Resolved(Event, frozen=True, kw_only=True, tag="resolved"):
    """A person settled a step in doubt."""

    set: str
    version: str
    direction: Direction
    step: int
    how: Literal["applied", "not_applied", "restore"]
    reason: str = ""


class TenantSkipped(Event, frozen=True, kw_only=True, tag="tenant_skipped"):
    """A run ended for the tenant with nothing else recorded of it. `reason` is a stable word, `detail` says more.

    On the run's own stream, where the tenant's belongs to another run or another ledger at that
    moment, or where it is a source that did not answer, `of` is its name.
    """

    reason: str
    detail: str = ""
    of: str = ""

    @property
    def code(self) -> str:
        """The stable word: what `reason` is here, and in no other event."""
        return self.reason


class DriftDetected(Event, frozen=True, kw_only=True, tag="drift_detected"):
    """The live schema is not what it should be, or the tenant went back to an older state.

    With `kind` "schema", `expected` is the fingerprint of the reference schema of what is
    applied, and stays the measure until it is reached or a `drift_accepted` replaces it. `mark`
    is how the tenant looked. With "regressed", `applied` is what the tenant's own marker says
    and becomes the applied set, and `reference` is what the tenant should be with that.
    "cleared" says that an earlier drift is gone, and with `failure`
    that the last failure has left nothing behind in the tenant, with `whole` that it holds nothing
    (any more) of migrations that had landed in part; with `aside` that alone, or that
    the tenant is within reach and brought forward again: a drift of its schema stays, and a
    `reference` is what it should be. `wish` is the
    SET/VERSION whose section sync asks for what it could not bring about: the schema is
    the recorded one all the same.
    """

    kind: Literal["schema", "regressed", "cleared"]
    expected: str = ""
    found: str = ""
    changes: tuple[Change, ...] = ()
    applied: tuple[MigrationRef, ...] = ()
    wish: str = ""
    failure: bool = False
    whole: bool = False
    reference: str = ""
    mark: Mark = Mark()
    aside: bool = False


class DriftAccepted(Event, frozen=True, kw_only=True, tag="drift_accepted"):
    """A person took the live schema for what it should be from here on: `found` replaces `expected`.

    Both are fingerprints, `changes` is in what they differ, and `mark` how the tenant looked.
    """

    expected: str
    found: str
    changes: tuple[Change, ...] = ()
    reason: str = ""
    mark: Mark = Mark()


class Reset(Event, frozen=True, kw_only=True, tag="reset"):
    """The end event of a reset. `applied` is what counts as applied from here on."""

    mode: Literal["mark_only", "drop_all"]
    applied: tuple[MigrationRef, ...] = ()
    dropped: tuple[str, ...] = ()
    reason: str = ""
    mark: Mark = Mark()


class MaintainedTable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What maintenance did to one table: `rows` deleted, set to null or archived, by which `constraint`."""

    table: str
    rows: int = 0
    constraint: str = ""


class Maintained(Event, frozen=True, kw_only=True, tag="maintained"):
    """The end event of maintenance: `rows` were deleted, mended or moved to `file`.

    `file_bytes` and `sha256` are the archive file's; it holds what of `table` was older than
    `before` by `column`. `bytes_before` and `bytes_after` are the database's.
    """

    task: Literal["optimize", "orphans", "archive"]
    rows: int = 0
    tables: tuple[MaintainedTable, ...] = ()
    table: str = ""
    column: str = ""
    before: str = ""
    file: str = ""
    file_bytes: int = 0
    sha256: str = ""
    bytes_before: int | None = None
    bytes_after: int | None = None
    notes: tuple[str, ...] = ()
    duration_us: int = 0
    reason: str = ""
    mark: Mark = Mark()
