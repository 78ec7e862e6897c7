"""Parsed migrations as values: what a folder of files means, before any tenant is looked at.

Invariant: a `Migration` is complete: with it and the tenant's variables a run
needs no file. Texts still hold their `{placeholders}`; `bind` replaces them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ledger.dialects.steps import Check, DialectName, Section, Step
from ledger.events import MigrationRef


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What version.json adds to a migration.

    `bound_checksum` is a checksum that is not the file's own, and so must be that
    of its text after the placeholders; `bind` holds it to that.
    """

    description: str = ""
    estimated_time_seconds: float | None = None
    requires_backup: bool | None = None
    tables_created: tuple[str, ...] = ()
    views_created: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    bound_checksum: str | None = None


PythonCall = Callable[[Any], Awaitable[None]]


class PythonModule(msgspec.Struct, frozen=True, kw_only=True):
    """The functions of a `.py` migration. `down_is_empty`: the text of `down` has no statement that acts."""

    up: PythonCall
    down: PythonCall | None = None
    verify: PythonCall | None = None
    down_is_empty: bool = False


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One migration of one set, for one dialect.

    `key` orders versions (part by part, as numbers). `depends` are (set,
    version) pairs. `sync` are the CREATE statements of the desired schema,
    which the tenant is brought up to after `up`. `contents` maps a SHA-256 to a text that the ledger keeps;
    `ref.sources` says which part each is. `uses` are the names of all
    placeholders in its texts, `warnings` what its author should know. `no_steps` says why it
    is meant to have none.
    """

    ref: MigrationRef
    key: tuple[int, ...]
    path: str
    up: Section
    down: Section | None = None
    sync: tuple[Step, ...] = ()
    checks: tuple[Check, ...] = ()
    depends: tuple[tuple[str, str], ...] = ()
    manifest: Manifest = Manifest()
    contents: dict[str, str] = {}
    python: PythonModule | None = None
    dialect: DialectName
    uses: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    no_steps: str = ""

    @property
    def has_steps(self) -> bool:
        """Whether applying it does anything; what Python does is not known."""
        return bool(self.up.steps or self.sync) or self.path.endswith(".py")

    @property
    def undoes(self) -> bool:
        """Whether its down part undoes it. An empty one does not, unless there is nothing to undo.

        A Python migration without its module has none.
        """
        if self.path.endswith(".py"):
            python = self.python
            return python is not None and python.down is not None and not python.down_is_empty
        return self.down is not None and (bool(self.down.steps) or not self.has_steps)

    @property
    def id(self) -> str:
        """`SET/VERSION`, unique over all sets."""
        return self.ref.id


class MigrationSet(msgspec.Struct, frozen=True, kw_only=True):
    """All migrations of a set in the order they apply: depends first, then by version.

    `target` is version.json's target_version, which caps a run; `auto_migrate` its
    auto_migrate_on_activation, None where it says nothing.
    """

    name: str
    path: str
    dialect: DialectName
    migrations: tuple[Migration, ...]
    target: str | None = None
    warnings: tuple[str, ...] = ()
    auto_migrate: bool | None = None
