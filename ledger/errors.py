"""Every error the product raises, in one tree.

    LedgerError                     exit 1  something failed as a whole
    ├── UsageError                  exit 2  a wrong command line
    │   ├── ConfigError             exit 2  a wrong configuration: file and key named
    │   ├── UnknownTenantError      exit 2  no tenant matches what was asked for
    │   └── ScriptError             exit 2  a migration file that cannot be used: file and line named
    │       └── EmptyMigrationError         it has no step, and does not say that it is meant so
    ├── StoppedError                exit 1  a signal ended the command before it had begun anything
    ├── ChecksumMismatchError       exit 1  an applied migration was edited afterwards
    ├── OutOfOrderError             exit 1  a pending version is lower than an applied one
    ├── PreflightError              exit 1  servers, accounts or disks would make the run fail
    ├── StoreError                  exit 1  the ledger's own database
    │   ├── StoreUnavailableError   exit 1  it cannot be reached, read or written
    │   │   ├── NoLedgerError       exit 1  there is none where the configuration says
    │   │   └── DuplicateKeyError   exit 1  a row that it has already, though its head row says otherwise
    │   ├── WrongLedgerError        exit 1  it is not the one that the tenants belong to
    │   ├── ConflictError           exit 1  somebody else appended first; normal, the caller decides again
    │   ├── NewerLedgerError        exit 1  a newer version wrote it; read-only for this one
    │   └── ChainBrokenError        exit 4  the hash chain does not hold at a named seq
    └── TenantError                 exit 3  one tenant's failure; others go on
        ├── UnreachableError                the database cannot be opened
        ├── UnfitTenantError                what a source found has a name or address that cannot be used
        ├── ForeignLedgerError              the tenant's marker names another ledger
        ├── LockedError                     another connection kept a lock for longer than we wait
        ├── StepFailedError                 the database refused a statement
        │   └── DiskFullError               it had no room on its disk
        ├── CheckFailedError                a verify check did not hold
        ├── FencedError                     a newer claim has passed; this runner must not write
        ├── MarkerMismatchError             the tenant's marker and the ledger disagree on what is applied
        ├── UnfinishedError                 a migration has landed in part, and is not among those to run
        ├── ClaimHeldError                  another living runner holds the tenant
        ├── InDoubtError                    a step's outcome cannot be settled without a person
        ├── BackupError                     a backup could not be made or verified
        └── RestoreError                    a backup could not be restored

Invariant: a message never holds a password; what a driver says is translated
once, at the store or the engine, with `raise … from`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypedDict, Unpack

GOES_ON: Final[dict[str, str]] = {
    "restore": "ledger restore --tenant NAME",
    "reset": "ledger reset --tenant NAME --drop-all",
}
"""The command that goes on with what a killed restore, or reset, has left in a tenant."""


def chosen(tenant: str) -> str:
    """The option that chooses the tenant, for a command that a person types."""
    return f"--tenant {shlex.quote(tenant)}"


def for_tenant(hint: str, tenant: str | None) -> str:
    """A hint whose commands name the tenant. As they are written, hints say NAME: alike for all tenants."""
    return hint if tenant is None else hint.replace("--tenant NAME", chosen(tenant))


class Where(TypedDict, total=False):
    """The keywords of every error beside its message; see LedgerError."""

    hint: str
    tenant: str | None
    migration: str | None
    file: str | None
    line: int | None


class LedgerError(Exception):
    """Base of all errors: what happened, where, and the next step.

    `message` says what is wrong, `hint` what to do next (an imperative
    sentence, may be empty). `file`, `line`, `tenant` and `migration` say where
    and are None where they do not apply.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        tenant: str | None = None,
        migration: str | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.tenant = tenant
        self.migration = migration
        self.file = file
        self.line = line

    @property
    def where(self) -> str:
        """`file:line` or `tenant: migration`, or nothing."""
        parts = [part for part in (self.tenant, self.migration) if part]
        if self.file:
            parts.append(f"{self.file}:{self.line}" if self.line else self.file)
        return ": ".join(parts)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def __reduce__(self) -> tuple[Callable[..., LedgerError], tuple[Any, ...], dict[str, Any]]:
        """All fields go along to another process; a pool that cannot read an error waits for ever, or breaks."""
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[LedgerError], args: tuple[Any, ...]) -> LedgerError:
    """An error without its fields, which pickle fills in."""
    return kind.__new__(kind, *args)


class UsageError(LedgerError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration is wrong; `file` and the key are named."""


class UnknownTenantError(UsageError):
    """No tenant has the name, or matches the pattern, that was asked for."""


class ScriptError(UsageError):
    """A migration file, or a set of them, cannot be used; nothing has run."""


class EmptyMigrationError(ScriptError):
    """A pending migration has no step, and does not say by `-- no-steps: WHY` that it is meant so."""


class StoppedError(LedgerError):
    """SIGINT or SIGTERM came while no run was under way: no tenant was changed."""


class ChecksumMismatchError(LedgerError):
    """A migration was edited after it ran; the message shows both checksums and the tenants."""


class OutOfOrderError(LedgerError):
    """A pending migration is lower than one already applied, and the policy is `error`."""


class PreflightError(LedgerError):
    """A server, an account or a disk would make the run fail; nothing was begun. All of it is listed."""


class StoreError(LedgerError):
    """The ledger's own database."""


class StoreUnavailableError(StoreError):
    """The ledger cannot be opened, read or written."""


class NoLedgerError(StoreUnavailableError):
    """There is no ledger where the configuration says; nothing was made there."""


class DuplicateKeyError(StoreUnavailableError):
    """The database refused a row because of one that is there: an event recorded before, or a wrong head row."""


class WrongLedgerError(StoreError):
    """The tenants belong to another ledger than the one that the configuration names."""


class ConflictError(StoreError):
    """The stream moved on: `expected` is not its version, `found` is."""

    def __init__(self, stream: str, *, expected: int, found: int) -> None:
        super().__init__(
            f"stream {stream} is at version {found}, not {expected}",
            hint="Read the stream again and decide again.",
        )
        self.stream = stream
        self.expected = expected
        self.found = found


class NewerLedgerError(StoreError):
    """The ledger holds what only a newer version understands; it is read-only for this one."""


class ChainBrokenError(StoreError):
    """The hash chain, or a stored projection, does not hold; `seq` is the first bad event."""

    exit_code = 4

    def __init__(self, message: str, *, seq: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seq = seq


class TenantError(LedgerError):
    """One tenant's failure. `code` is a stable snake_case word for scripts to branch on."""

    exit_code = 3
    code: ClassVar[str] = "failed"


class UnreachableError(TenantError):
    """The tenant's database cannot be opened: missing, refused, corrupt, or too slow."""

    code = "unreachable"


class UnfitTenantError(TenantError):
    """A source found it, and its name, prefix or address cannot be a tenant's; it is set aside."""

    code = "unfit"


class ForeignLedgerError(TenantError):
    """The tenant's marker names another ledger: this one may know nothing of it, and must not act on it."""

    code = "foreign"


class LockedError(TenantError):
    """Another connection, not a runner of ours, kept a lock for longer than we wait; nothing was written."""

    code = "locked"


class StepFailedError(TenantError):
    """The database refused a statement. `step` counts from 1; `database_code` is the engine's own."""

    code = "step_failed"

    def __init__(
        self, message: str, *, step: int, database_code: str = "", **where: Unpack[Where]
    ) -> None:
        super().__init__(message, **where)
        self.step = step
        self.database_code = database_code


class DiskFullError(StepFailedError):
    """The tenant's disk has no room; what was not committed before was not kept.

    `step` is the one that met it, or the last one that a COMMIT was to keep; 0 before the first.
    """

    code = "disk_full"


class CheckFailedError(TenantError):
    """A check of the migration's verify section did not hold, or foreign keys are violated."""

    code = "check_failed"


class FencedError(TenantError):
    """The tenant has seen a newer claim: `found` is its epoch. This runner must stop writing to it."""

    code = "fenced"

    def __init__(self, message: str, *, found: int, tenant: str | None = None) -> None:
        super().__init__(
            message, hint="Run the command again; it goes on from there.", tenant=tenant
        )
        self.found = found


class MarkerMismatchError(TenantError):
    """What the tenant's marker calls applied is not what the ledger does; nothing was written.

    A tenant restored from an old backup, or a ledger that was. `missing` are
    `set/version` ids that the ledger has and the marker lacks, `extra` the reverse.
    """

    code = "regressed"

    def __init__(
        self,
        message: str,
        *,
        missing: tuple[str, ...] = (),
        extra: tuple[str, ...] = (),
        **where: Unpack[Where],
    ) -> None:
        super().__init__(message, **where)
        self.missing = missing
        self.extra = extra


class UnfinishedError(TenantError):
    """A migration has landed in part in the tenant, and none that is to run brings it to its end."""

    code = "unfinished"


class ClaimHeldError(TenantError):
    """Another living runner holds the tenant."""

    code = "claim_held"


class InDoubtError(TenantError):
    """Whether `step` landed is not known; `evidence` says what was seen."""

    code = "in_doubt"

    def __init__(
        self,
        message: str,
        *,
        step: int,
        evidence: dict[str, str],
        **where: Unpack[Where],
    ) -> None:
        super().__init__(message, **where)
        self.step = step
        self.evidence = evidence


class BackupError(TenantError):
    """A backup could not be made, or does not verify."""

    code = "backup_failed"


class RestoreError(TenantError):
    """A backup could not be restored."""

    code = "restore_failed"
