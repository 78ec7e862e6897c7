"""The configuration as plain values, ready for the layers below.

Invariant: no value here repeats a password; secrets are `SecretSource`s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from ledger.dialects.steps import DialectName
from ledger.drivers.url import SecretSource, Url
from ledger.engines.kinds import DEFAULT
from ledger.engines.source import TenantSource
from ledger.requests import BackupPolicy

MAX_SECONDS: Final = 31_536_000.0
"""A year. What is longer is a slip of the finger, and "for ever" (`inf`) has no place in an event's JSON."""

Seconds = Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)]
OutOfOrder = Literal["error", "apply"]
"""What to do with a pending version lower than one already applied."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[timeouts]`, deadlines in seconds: connecting with its handshake, waiting for a lock, one backup.

    `statement_seconds` is for a migration's statements on one tenant, all together; a
    migration's own `migration_timeout_seconds` goes before it. `wait_seconds` is how long
    another run's claim of a tenant is waited for.
    """

    connect_seconds: Seconds = 10.0
    lock_seconds: Seconds = 30.0
    statement_seconds: Seconds = 3600.0
    backup_seconds: Seconds = 3600.0
    wait_seconds: Seconds = 600.0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration, one environment's overlay already laid over it.

    `path` is the file it came from and None for one made in Python; relative
    paths were taken from `base`. `variables` hold for all tenants, a source's own
    go before them. `workers` are processes for SQLite tenants: 0 for none, `auto` as
    many as there are cores, where the fleet is large and the cores are four or more. `warnings` are for a person, once.
    """

    base: Path
    migrations: tuple[Path, ...]
    backups: Path
    url: Url
    path: Path | None = None
    secret: SecretSource = SecretSource()
    backup: BackupPolicy = "always"
    parallel: int = 16
    workers: int | Literal["auto"] = "auto"
    variables: dict[str, str] = {}
    out_of_order: OutOfOrder = "error"
    strict: bool = False
    allow_python: bool = False
    lease_seconds: float = 60.0
    timeouts: Timeouts = Timeouts()
    tenants: tuple[TenantSource, ...] = ()
    env: str | None = None
    warnings: tuple[str, ...] = ()

    def followed(self) -> dict[tuple[Path, DialectName], list[TenantSource]]:
        """Each folder of migrations in each dialect that its tenants speak, with their sources.

        A query's tenants are taken to be what the asked database is. Without any tenant the
        folders are in the default dialect.
        """
        found: dict[tuple[Path, DialectName], list[TenantSource]] = {}
        for source in self.tenants:
            for folder in source.migrations or self.migrations:
                found.setdefault((folder, source.engine), []).append(source)
        return found or {(folder, DEFAULT): [] for folder in self.migrations}
