"""What events are made of: the base of all bodies, and the values in them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

BODY_SCHEMA: Final = 1
GENESIS_HASH: Final = "0" * 64

Command = Literal[
    "maintain",
    "migrate",
    "rollback",
    "restore",
    "baseline",
    "reset",
    "import",
    "resolve",
    "unlock",
    "prune",
]
Direction = Literal["up", "down"]


def _body_schema() -> int:
    """A factory, so that the number is always written although defaults are omitted."""
    return BODY_SCHEMA


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all event bodies. `schema` is the number of the body's shape.

    Fields that many events share stand first: a ledger keeps that part of a body once (`slim.py`).
    """

    schema: Annotated[int, msgspec.Meta(le=BODY_SCHEMA)] = msgspec.field(
        default_factory=_body_schema
    )


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The process that has a claim: enough to find out whether that very process still lives.

    `started` is the process' start time in clock ticks since boot (field 22 of
    /proc/PID/stat), 0 where the system does not say; `nonce` is drawn once a
    process, so that nothing else can be mistaken for it.
    """

    host: str
    boot: str
    pid: int
    started: int
    nonce: str


class MigrationRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A migration as it was applied: identity, checksum, and where its text is kept.

    `sources` maps a part (`file`, `down`, `verify`, `manifest`) to the SHA-256 of
    its text in the ledger's `scripts`.
    """

    set: str
    version: str
    name: str
    checksum: str
    algorithm: str = "sha256"
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """As people write it."""
        return f"{self.set}/{self.version}"

    @property
    def key(self) -> tuple[str, str]:
        """Set and version."""
        return self.set, self.version


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the tenant looked like from outside: cheap to read again, so that change is noticed.

    `fingerprint` is the schema's hash. `cookie` and `counter` are SQLite's schema
    cookie and change counter (file header, bytes 40 and 24); `bytes` is the size
    of the database.
    """

    fingerprint: str | None = None
    cookie: int | None = None
    counter: int | None = None
    bytes: int | None = None


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check: its name, whether it held, and the database's words if it did not."""

    name: str
    passed: bool
    detail: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference between two schemas. `kind` is table, column, index, …; `how` added, missing or changed."""

    kind: str
    name: str
    how: Literal["added", "missing", "changed"]
    expected: str = ""
    found: str = ""
