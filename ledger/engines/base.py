"""Tenants' databases behind one small protocol.

Engines differ through `Capabilities` only. Invariant: nothing is written to a
tenant whose marker has seen a newer epoch than the writer's; the marker commits
together with the step it speaks of wherever the database can do that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from ledger.drivers.application import Application
from ledger.drivers.url import SecretSource, Url
from ledger.engines.diagnosis import Diagnosis, Probe
from ledger.engines.foreign import ForeignTable
from ledger.engines.maintain import Maintenance
from ledger.engines.measured import Measured, Plan
from ledger.engines.source import Named, TenantSource
from ledger.events import AheadStep, Change, CheckResult, Mark, MigrationRef
from ledger.schema import Schema
from ledger.scripts.created import Owned
from ledger.scripts.model import Check, DialectName, PythonModule, Section, Step
from ledger.scripts.touching import Touched

ABSENT = "absent"
"""The fingerprint of objects none of which exists."""

MORE_TIME = (
    "raise migration_timeout_seconds in its version.json, or statement_seconds in [timeouts]"
)
"""What to do about a migration whose statements took too long."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """`transactional_ddl`: a whole migration is one transaction. `server_side_locks`: GET_LOCK."""

    transactional_ddl: bool
    server_side_locks: bool


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant: its name, where it is, and what it follows.

    `source` says which part of the configuration named it (for error messages).
    `prefix` is set for a prefix tenant. `sets` are the names of the migration
    sets it follows. `variables` are what placeholders stand for, `prefix` and
    `charset_collate` included. `session` statements run on every connection.
    `max_connections` holds for the whole server (`url.server`). `for_restore`
    lets a missing or damaged file be opened, since a restore will replace it.
    `ignore` are patterns for the names of objects that are no drift: other tools make them.
    `neighbours` are the prefixes of others in the same database: what starts
    with a longer one of them is not this tenant's (`wp_` and `wp_2_`). `tables` are
    patterns of names that are declared to be a prefix tenant's own, `owns_all` says that
    the database is: all of it that begins with the prefix. `touches` says what migrations
    touch, by their ids, for all that may be applied.
    """

    name: str
    engine: DialectName
    url: Url
    source: str
    sets: tuple[str, ...] = ()
    prefix: str = ""
    secret: SecretSource = SecretSource()
    variables: dict[str, str] = {}
    session: tuple[str, ...] = ()
    application: Application | None = None
    max_connections: int = 8
    create: bool = False
    for_restore: bool = False
    neighbours: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    owns_all: bool = False
    touches: Mapping[str, Touched] = {}
    ignore: tuple[str, ...] = ()

    @property
    def server(self) -> str:
        """What the limit per server counts by; empty for a file."""
        return self.url.server


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as the ledger remembers it. `applied` are `set/version` ids."""

    target: Target
    mark: Mark
    applied: tuple[str, ...]


class MarkerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the tenant itself remembers of a migration.

    `state` is `applied`, or `running` while only `step` of its steps have landed
    (non-transactional engines). `steps` and `checks` are results as they were, so
    that events lost in a crash can be written again; `measured` is from before the first step.
    """

    ref: MigrationRef
    state: Literal["running", "applied"]
    direction: Literal["up", "down"]
    step: int
    epoch: int
    steps: tuple[StepResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    measured: Measured | None = None


class Scratch(msgspec.Struct, frozen=True, kw_only=True):
    """A scratch place as a target, and the `elsewhere`: databases that a statement there could name."""

    target: Target
    elsewhere: tuple[str, ...] = ()


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The marker table's content: the fence and one entry per migration. `ledger` is the ledger's id.

    A tenant without the table has epoch 0 and no entries. `unfinished` is the command that was
    interrupted in the middle of replacing or dropping the tenant's content.
    """

    epoch: int = 0
    ledger: str = ""
    entries: tuple[MarkerEntry, ...] = ()
    unfinished: Literal["", "restore", "reset"] = ""


class StepResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step's outcome as the engine saw it; `skipped` holds the reason if its guard held.

    `of` is how many steps there are in all, where a wish adds to those of the section. `existed`
    is that of StepApplied.
    """

    number: int
    name: str
    statement: str
    duration_us: int = 0
    rows: int | None = None
    skipped: str = ""
    recovered: bool = False
    before: str = ""
    after: str = ""
    warnings: tuple[str, ...] = ()
    of: int = 0
    existed: bool | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A step about to run whose effect cannot share a transaction with the marker.

    `ahead` are the steps after it that this announces too. `bytes_before` is the tenant's size before
    the migration's first step, where its marker does not say so yet.
    """

    step: int
    statement: str
    before: str
    objects: tuple[str, ...]
    connection_id: int
    ahead: tuple[AheadStep, ...] = ()
    bytes_before: int | None = None

    def singly(self) -> tuple[Intent, ...]:
        """The same as an intent for each step."""
        first = msgspec.structs.replace(self, ahead=())
        others = [
            msgspec.structs.replace(
                first,
                step=one.step,
                statement=one.statement,
                before=ABSENT,
                objects=one.objects,
            )
            for one in self.ahead
        ]
        return (first, *others)


class Journal(Protocol):
    """How an engine tells the runner what happens, while it happens."""

    async def intend(self, intent: Intent) -> None:
        """Returns once the intent is durable in the ledger. Raises FencedError if the claim is lost."""
        ...

    def require_lease(self) -> None:
        """Before a step that an earlier intent announced. Raises FencedError if the lease has run out."""
        ...

    def landed(self, result: StepResult) -> None:
        """A step that is durable in the tenant; it is recorded with the next durable write."""
        ...


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One migration to run on one tenant, in one direction, under one claim.

    `section` and `checks` are bound (no placeholders left). `expected` are the
    `set/version` ids that the ledger calls applied, this one apart: if the
    marker's applied entries (this one apart) differ, nothing is written. `intent` is the last
    recorded intent without an outcome, from before a crash; `known_after` are
    fingerprints that the same step, from the same `before`, left on other
    tenants. `recorded` are the numbers of steps whose outcome the ledger already
    has from an earlier attempt (None: not known): they are not landed again.
    `ledger` is the ledger's id. `resolved` is a person's word on `resolved_step`, which was
    in doubt.
    `sync` is the bound wish: once the section has run, what the tenant still lacks of it
    is computed and run as further steps, numbered after the section's. All the statements
    together may take `timeout_seconds` (None: no limit). `plans` are query plans as they are now, by the
    SHA-256 of the query's text, for `Done.plans`.
    """

    ref: MigrationRef
    direction: Literal["up", "down"]
    section: Section
    checks: tuple[Check, ...]
    epoch: int
    ledger: str
    expected: frozenset[str] = frozenset()
    python: PythonModule | None = None
    intent: Intent | None = None
    known_after: frozenset[str] = frozenset()
    recorded: frozenset[int] | None = None
    resolved: Literal["applied", "not_applied"] | None = None
    resolved_step: int = 0
    timeout_seconds: float | None = None
    sync: tuple[Step, ...] = ()
    plans: tuple[tuple[str, Plan], ...] | None = None


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a wish comes to on one tenant: the statements it lacks, and what they cannot settle."""

    steps: tuple[Step, ...] = ()
    drift: tuple[Change, ...] = ()


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A migration's end: its checks, and the tenant's mark afterwards.

    `schema` is given when the fingerprint was not one of the `known` that the
    caller passed, so that the ledger can keep its content once. `bytes_before` is
    the tenant's size before the first step, and `plans` are those from before it: of the attempt that
    ran the first step, None where that did not measure it. `drift` is in
    what the tenant is not as its wish (`Work.sync`) says, now that all its statements ran.
    """

    checks: tuple[CheckResult, ...]
    mark: Mark
    schema: Schema | None = None
    bytes_before: int | None = None
    drift: tuple[Change, ...] = ()
    plans: tuple[tuple[str, Plan], ...] | None = None


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A finished, verified, fsynced backup file (mode 0600).

    `left_out` are objects of the database that may be the tenant's, and are not in it;
    `broken` are views that refer to what is not there, kept by their definition.
    """

    path: Path
    bytes: int
    sha256: str
    format: Literal["sqlite", "sql.zst"]
    covers: str
    fingerprint: str
    left_out: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class Session(Protocol):
    """An open tenant. All methods raise TenantError subclasses, never driver exceptions."""

    async def marker(self) -> Marker:
        """What the tenant remembers; reads only."""
        ...

    async def fence(self, *, epoch: int, ledger: str) -> Marker:
        """Set the fence to `epoch` (creating the marker table) and return what was there before.

        Raises FencedError, having written nothing, if the tenant has seen a newer epoch.
        On engines with server-side locks, the lock is held from here until the session ends.
        """
        ...

    async def apply(
        self, work: Work, journal: Journal, *, known: frozenset[str] = frozenset()
    ) -> Done:
        """Run what is left of the migration, its checks, and set (up) or remove (down) its marker entry.

        Already applied according to the marker: `journal.landed` is called with
        the kept results and nothing else happens. Transactional engines set the fence
        in this same transaction, so that `fence` need not be called before; others
        fence on the first call. Raises FencedError, MarkerMismatchError, StepFailedError,
        CheckFailedError, InDoubtError.
        """
        ...

    async def adopt(self, refs: Sequence[MigrationRef], *, epoch: int, ledger: str) -> Mark:
        """Make the marker say that exactly `refs` are applied (baseline, restore, reset --mark-only)."""
        ...

    async def drop(self, objects: Sequence[Owned], *, epoch: int, ledger: str) -> Mark:
        """Drop these objects, where they are there, in this order, and make the marker say that
        nothing is applied.

        Foreign keys neither stop it nor delete rows elsewhere. May be repeated after a
        crash. Raises FencedError, and TenantError having dropped nothing if a table
        of another tenant or database refers to one of them.
        """
        ...

    async def check(self, checks: Sequence[Check]) -> tuple[CheckResult, ...]:
        """Run checks; a check that cannot run has not passed, with the database's words as detail."""
        ...

    async def explain(self, queries: Sequence[str]) -> tuple[Plan, ...]:
        """The plan of each query, which is not run; one that cannot be explained says why."""
        ...

    async def schema(self) -> Schema:
        """The live schema, without the marker table, prefix replaced by `{prefix}`."""
        ...

    async def plan_sync(self, wish: Sequence[Step]) -> SyncPlan:
        """What `apply` would run for this wish if the tenant were as it is now; the tenant is only read.

        Raises StepFailedError for a statement that the database refuses.
        """
        ...

    async def scratch_schema(self, steps: Sequence[Step]) -> Schema:
        """What these statements make of an empty database beside the tenant, which is not touched.

        Raises StepFailedError, and ScriptError for one that could reach beyond that database.
        """
        ...

    async def mark(self) -> Mark:
        """What `Done.mark` holds, read now."""
        ...

    def maintenance(self) -> Maintenance:
        """The tenant's maintenance, while the session is open."""
        ...

    async def backup(
        self, destination: Path, *, deadline_seconds: float, pending: Sequence[str] = ()
    ) -> Backup:
        """Write a verified backup at `destination` (its final name; it must not exist).

        It also holds what the migrations `pending` (ids) change. Raises BackupError; nothing
        is left behind at a final name.
        """
        ...

    async def require_restorable(self, backup: Path, *, sha256: str) -> None:
        """What `restore` checks before it touches the tenant. Raises RestoreError."""
        ...

    async def restore(
        self,
        backup: Path,
        *,
        sha256: str,
        epoch: int,
        ledger: str,
        deadline_seconds: float,
        fingerprint: str = "",
        unmade: list[str] | None = None,
    ) -> Mark:
        """Replace the tenant's content by the backup's, checking its hash first, then set the fence to `epoch`.

        Names of broken views that could not be made again are added to `unmade`. May be
        repeated after a crash. Raises RestoreError, also where what was restored
        has another `fingerprint` than that of the backup.
        """
        ...


class Engine(Protocol):
    """One kind of tenant database."""

    name: DialectName
    dialect: DialectName
    capabilities: Capabilities

    def open(self, target: Target) -> AbstractAsyncContextManager[Session]:
        """Open a tenant within the configured deadlines. Raises UnreachableError."""
        ...

    async def changed(self, seen: Sequence[Seen]) -> set[str]:
        """Names of tenants that look different from how a run left them, found cheaply.

        Must notice a tenant restored from an older state; may name one in which
        nothing that matters changed. Must be called while no session is open.
        """
        ...

    async def owners(self, targets: Sequence[Target]) -> dict[str, str]:
        """The ids of the ledgers that the targets' markers name, by tenant, found cheaply.

        A tenant without a marker, or that cannot be looked at, is left out.
        """
        ...

    async def preflight(
        self,
        targets: Sequence[Target],
        *,
        statement_bytes: int,
        statements: Sequence[str] = (),
    ) -> Sequence[Probe]:
        """What one server and account lack for a run over `targets`, cheaply. Raises UnreachableError.

        `statements` are those that the run is to send, as far as they are known, `statement_bytes`
        the size of the longest.
        """
        ...

    async def diagnose(self, target: Target, *, quick: bool) -> Diagnosis:
        """Look at a tenant without writing: privileges, versions, integrity, marker. Raises UnreachableError.

        `quick` leaves out what reads every row.
        """
        ...

    def scratch(self, target: Target, folder: Path) -> AbstractAsyncContextManager[Scratch]:
        """An empty place of the tenant's kind, gone at the block's end. Raises TenantError.

        `folder` is where files may lie. The tenant itself is read at most.
        """
        ...

    async def tenants(self, source: TenantSource, *, alone: bool) -> Sequence[Named]:
        """The tenants that a source has, by what it lists or by asking. Raises UnreachableError, ConfigError.

        If the source stands `alone`, a place that is not there yet may be a fleet without tenants.
        """
        ...

    def foreign_table(
        self, target: Target, table: str, *, registry: str | None = None, usual: str = ""
    ) -> ForeignTable:
        """Another tool's table: in the database or file `registry`, else where the tool usually
        has its own, named `usual`, else in the tenant. Raises UnreachableError."""
        ...

    async def same_case(self, target: Target) -> bool:
        """Whether names of tables that differ in case alone are names of two tables."""
        ...

    def query(
        self, url: Url, secret: SecretSource, sql: str, *, limit: int = 1_000_000
    ) -> AsyncIterator[tuple[object, ...]]:
        """Rows of a read-only query (control planes, prefixes_query, SHOW DATABASES). Raises UnreachableError."""
        ...

    async def aclose(self) -> None:
        """Close what is kept between sessions."""
        ...
