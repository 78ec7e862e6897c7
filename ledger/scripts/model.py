"""Parsed migrations as values: what a folder of files means, before any tenant is looked at.

Invariant: a `Migration` is complete: with it and the tenant's variables a run
needs no file. Texts still hold their `{placeholders}`; `bind` replaces them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec

from ledger.events import MigrationRef

Dialect = Literal["sqlite", "mysql"]
MARKER_TABLE: Final = "ledger_marker"
"""The name of the marker in a tenant; for a prefix tenant it is `{prefix}ledger_marker`."""
SkipKind = Literal["column", "table", "index", "view", "sql"]


def sha256_hex(text: str) -> str:
    """SHA-256, in hex, over the UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


class SkipIf(msgspec.Struct, frozen=True, kw_only=True):
    """A step's guard. `subject` is `T.C`, `T`, `I`, `V`, or the SELECT for `sql`; `text` is as written.

    `owner` and `name` are the parts of a subject whose names may hold a dot themselves.
    """

    kind: SkipKind
    subject: str
    text: str
    owner: str = ""
    name: str = ""

    @property
    def parts(self) -> tuple[str, str]:
        """The table that is named before it, or nothing, and the name."""
        if self.name:
            return self.owner, self.name
        owner, _, name = self.subject.rpartition(".")
        return owner, name


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One SQL statement. `number` counts from 1 within its section; `line` is where it starts in `file`.

    `sha256` is over the statement's text as it is sent, after binding. `placeholders`
    is false where the file means its braces (`-- placeholders: off`).
    """

    number: int
    name: str
    sql: str
    file: str
    line: int
    sha256: str
    skip_if: SkipIf | None = None
    verify_step: str | None = None
    redo_safe: bool = False
    secret: bool = False
    placeholders: bool = True


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A SELECT whose first value must be true (not 0, not NULL, not empty)."""

    name: str
    sql: str
    file: str
    line: int
    placeholders: bool = True


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The up or down part. `transaction` is false after `transaction:false`.

    `foreign_keys` is what the file itself says by PRAGMA foreign_keys (SQLite):
    the engine sets it outside the transaction. The file's own BEGIN and COMMIT
    are not among the steps of a SQLite section with `transaction`. `foreign_key_check` is false after
    `-- foreign-key-check: off`: what dangles at the end is not looked for.
    """

    steps: tuple[Step, ...]
    transaction: bool = True
    foreign_keys: bool | None = None
    foreign_key_check: bool = True


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
    version) pairs. `sync` are the CREATE statements of a schema that is wished for,
    which is brought about after `up`. `contents` maps a SHA-256 to a text that the ledger keeps;
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
    dialect: Dialect = "sqlite"
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
        return f"{self.ref.set}/{self.ref.version}"


class MigrationSet(msgspec.Struct, frozen=True, kw_only=True):
    """All migrations of a set in the order they apply: depends first, then by version.

    `target` is version.json's target_version, which caps a run; `auto_migrate` its
    auto_migrate_on_activation, None where it says nothing.
    """

    name: str
    path: str
    dialect: Dialect
    migrations: tuple[Migration, ...]
    target: str | None = None
    warnings: tuple[str, ...] = ()
    auto_migrate: bool | None = None
