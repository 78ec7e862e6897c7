"""Tenants' databases behind one small protocol.

Engines differ through `Capabilities` only. Invariant: nothing is written to a
tenant whose marker has seen a newer epoch than the writer's; the marker commits
together with the step it speaks of wherever the database can do that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec

from ledger.dialects.steps import Check, DialectName, Step
from ledger.drivers.application import Application
from ledger.drivers.url import SecretSource, Url
from ledger.engines.foreign import ForeignTable
from ledger.engines.maintain import Maintenance
from ledger.engines.measured import Plan
from ledger.engines.probes import Probe, Probed
from ledger.engines.source import Named, TenantSource
from ledger.engines.work import Done, Journal, Marker, Work
from ledger.errors import UnreachableError
from ledger.events import CheckResult, Mark, MigrationRef
from ledger.schema import Schema
from ledger.scripts.created import Owned
from ledger.scripts.model import Migration
from ledger.scripts.touching import Touched
from ledger.sync.steps import SyncPlan

T = TypeVar("T")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """`transactional_ddl`: a whole migration is one transaction, so that it needs no intents."""

    transactional_ddl: bool


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


class Scratch(msgspec.Struct, frozen=True, kw_only=True):
    """A scratch place as a target, and the `elsewhere`: databases that a statement there could name."""

    target: Target
    elsewhere: tuple[str, ...] = ()


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
    """An open tenant. Every method raises TenantError subclasses, never driver exceptions."""

    async def marker(self) -> Marker:
        """What the tenant remembers, read only; `Marker()` if it has no marker table."""
        ...

    async def fence(self, *, epoch: int, ledger: str) -> Marker:
        """Set the fence to `epoch`, creating the marker table; the marker from before, `Marker()` for none.

        Raises FencedError, having written nothing, if the tenant has seen a newer epoch.
        On engines with server-side locks, the lock is held from here until the session ends.
        """
        ...

    async def require_read_alike(self, migrations: Sequence[Migration], *, down: bool) -> None:
        """Raises TenantError for the first text that the tenant's connection reads otherwise than its file was
        divided; `down` asks about the down sections. Touches nothing.
        """
        ...

    async def apply(
        self, work: Work, journal: Journal, *, known: frozenset[str] = frozenset()
    ) -> Done:
        """Run what is left of the migration, its checks, and set (up) or remove (down) its marker entry.

        If the marker says that it is applied (up), or has no entry (down), nothing runs, and the kept
        results go to `journal.landed`. It sets the fence itself, so that `fence` need not be
        called before. Raises FencedError, MarkerMismatchError, StepFailedError,
        CheckFailedError, InDoubtError.
        """
        ...

    async def adopt(self, refs: Sequence[MigrationRef], *, epoch: int, ledger: str) -> Mark:
        """Make the marker say that exactly `refs` are applied (baseline, restore, reset --mark-only).

        A tenant of another ledger becomes this one's. Raises FencedError.
        """
        ...

    async def drop(self, objects: Sequence[Owned], *, epoch: int, ledger: str) -> Mark:
        """Drop these objects in this order, and make the marker say that nothing is applied.

        An object that is not there is passed over. Foreign keys neither stop it nor delete rows
        elsewhere. May be repeated after a crash. Raises FencedError, and TenantError having dropped nothing if a table
        of another tenant or database refers to one of them.
        """
        ...

    async def check(self, checks: Sequence[Check]) -> tuple[CheckResult, ...]:
        """A result for each check, in order; one that cannot run has not passed, and `detail` says why."""
        ...

    async def explain(self, queries: Sequence[str]) -> tuple[Plan, ...]:
        """A plan for each query, in order; none is run. `Plan.error` says why there is no plan."""
        ...

    async def schema(self) -> Schema:
        """The live schema without the marker table, the prefix as `{prefix}`; `Schema()` for an empty tenant."""
        ...

    async def plan_sync(self, steps: Sequence[Step]) -> SyncPlan:
        """What `apply` would run for this `sync` section now; `SyncPlan()` if nothing is lacking.

        The tenant is only read. Raises StepFailedError for a statement that the database refuses.
        """
        ...

    async def scratch_schema(self, steps: Sequence[Step]) -> Schema:
        """The schema that these statements make in an empty database; the tenant is not touched.

        Raises StepFailedError, and ScriptError for one that could reach beyond that database.
        """
        ...

    async def mark(self) -> Mark:
        """The tenant's mark, read now: what `Done.mark` holds after a migration."""
        ...

    def maintenance(self) -> Maintenance:
        """The tenant's maintenance, usable while the session is open."""
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
        """Check what `restore` checks before it touches the tenant. Raises RestoreError."""
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
        """Check the backup's hash, replace the tenant's content by it, and set the fence to `epoch`.

        Names of broken views that could not be made again are added to `unmade`. May be repeated
        after a crash. Raises RestoreError, also if the restored schema has another `fingerprint`
        (empty: not known).
        """
        ...


class Engine(Protocol):
    """One kind of tenant database."""

    dialect: DialectName
    capabilities: Capabilities

    def open(self, target: Target) -> AbstractAsyncContextManager[Session]:
        """Open a tenant within the engine's deadlines. Raises UnreachableError."""
        ...

    async def changed(self, seen: Sequence[Seen]) -> set[str]:
        """Names of tenants that are not as a run left them, found cheaply; empty if all are.

        Names a tenant that was restored from an older state or cannot be read; may name one in which
        nothing that matters changed. Called while no session is open.
        """
        ...

    async def owners(self, targets: Sequence[Target]) -> dict[str, str]:
        """The ids of the ledgers that the targets' markers name, by tenant, found cheaply.

        A tenant that has no marker or cannot be read has no entry. Raises nothing.
        """
        ...

    async def preflight(
        self,
        targets: Sequence[Target],
        *,
        statement_bytes: int,
        statements: Sequence[str] = (),
    ) -> Sequence[Probe]:
        """What the server and account of `targets` lack for a run; empty if nothing. Raises UnreachableError.

        `statements` are those that the run is to send, as far as they are known, `statement_bytes`
        the size of the longest.
        """
        ...

    async def probe(self, target: Target, *, quick: bool) -> Probed:
        """Check privileges, version, integrity and marker without writing. Raises UnreachableError.

        `quick` leaves out what reads every row.
        """
        ...

    def scratch(self, target: Target, folder: Path) -> AbstractAsyncContextManager[Scratch]:
        """An empty place of the tenant's kind, gone at the block's end. Raises TenantError.

        Files go into `folder`. The tenant itself is read at most.
        """
        ...

    async def tenants(
        self, source: TenantSource, *, alone: bool, only: Collection[str] | None = None
    ) -> Sequence[Named]:
        """The tenants that a source has, by what it lists or by asking. Raises UnreachableError, ConfigError.

        If the source stands `alone`, a place that is not there yet may be a fleet without tenants.
        With `only`, those of these natural names are found without a walk over all others; more may come.
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
        """The rows of a read-only query. Raises UnreachableError, also for more than `limit` rows."""
        ...

    async def aclose(self) -> None:
        """Close what is kept between sessions."""
        ...


def within_limit(rows: Sequence[T], url: Url, *, limit: int) -> Sequence[T]:
    """The rows. Raises UnreachableError for more than `limit`: a part of a fleet is not taken for the whole."""
    if len(rows) > limit:
        raise UnreachableError(
            f"the query on {url} gives more than {limit} rows", hint="Narrow the query."
        )
    return rows
