"""The ledger's own database behind one small protocol.

Invariant: an append is told to its caller only after its commit is durable;
`seq` is gapless and in commit order; nothing is ever changed or deleted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from ledger.errors import StoreError
from ledger.events import NewEvent, Recorded
from ledger.projections import Fact

LEDGER_SCHEMA = 1
"""The number of the ledger's own tables; stores migrate older ones forward when opened."""

MAKE_HINT: Final = (
    "`ledger migrate --all-tenants` makes it, if `url` in the configuration is where it is to be."
)
"""For a ledger that is missing. (`ledger init` refuses a folder that has a configuration.)"""

PAGE_SCRIPTS: Final = 32
"""Texts read by one query: each may have megabytes."""

PAGE_EVENTS: Final = 1_000
"""Events read by one query: a page that fits into the processor's cache is folded while it is there."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last event's seq (0 in an empty ledger) and hash (GENESIS_HASH in an empty ledger)."""

    seq: int
    hash: str


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A text kept once. `sha256` is its key; `algorithm` names how the key was made."""

    sha256: str
    content: str
    algorithm: str = "sha256"


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """One request: all of `events` on `stream`, or none.

    `expected` is the stream's version before (0 for a new stream), or None where
    any will do. `scripts` are stored in the same transaction.
    """

    stream: str
    events: tuple[NewEvent, ...]
    expected: int | None = None
    scripts: tuple[Script, ...] = ()


Encoded = tuple[str, str, str, str, str | None, bytes]
"""A new event with its body encoded: event id, type, run, actor, tenant and body.
A plain tuple: every event of every append passes through one."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An Append that was checked and encoded, by `chain.prepare`, in this process or in another.

    `size` is the bytes of its bodies and scripts.
    """

    stream: str
    events: tuple[Encoded, ...]
    size: int
    expected: int | None = None
    scripts: tuple[Script, ...] = ()


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to read. Times are UTC, ISO 8601 with `Z`; `since` is inclusive, `until` exclusive.

    `tenant`, `run` and `actor` may hold `*` and `?`. With `last`, only the newest
    `last` matching events come, still in seq order.
    """

    after_seq: int = 0
    until_seq: int | None = None
    stream: str | None = None
    tenant: str | None = None
    types: tuple[str, ...] = ()
    run: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None
    last: int | None = None


class StoredProjection(msgspec.Struct, frozen=True, kw_only=True):
    """One row of folded state. All rows of a `name` stand at the one seq of `Store.projection_seq`."""

    key: str
    state: bytes


class Store(Protocol):
    """What every ledger database does.

    `url` is redacted: it never holds a password. `ledger_id` (32 hex digits) was
    drawn when the ledger was made: it tells one ledger from another.
    """

    url: str
    ledger_id: str

    async def append(self, request: Append | Prepared) -> tuple[Recorded, ...]:
        """Append durably, together with whatever else is waiting (group commit).

        What `prepare` made of a request elsewhere is neither encoded nor decoded again.

        A lone append waits for nobody. A retry after a lost acknowledgement is
        recognised by event id and returns what was recorded. Raises
        ConflictError (the other requests of the same batch are not affected),
        NewerLedgerError, StoreUnavailableError.
        """
        ...

    async def append_all(
        self, requests: Sequence[Prepared]
    ) -> Sequence[tuple[Recorded, ...] | StoreError]:
        """Append many at once, in as few commits as they fit in; for each, in order, what became of it.

        What was recorded, or the error that `append` would have raised: one refusal leaves the
        others alone. Raises StoreError for a request that could never be held.
        """
        ...

    def read(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Recorded], None]:
        """Matching events in seq order, in lists of at most `batch`."""
        ...

    def read_facts(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Fact], None]:
        """As `read`, of each event only what a fold needs."""
        ...

    async def head(self) -> Head:
        """The head row."""
        ...

    async def script(self, sha256: str) -> str | None:
        """A stored text, or None. Bytes that are no UTF-8, which no store writes, are replaced."""
        ...

    def scripts(self) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """All stored texts, as key and content, in lists of a few."""
        ...

    async def now(self) -> datetime:
        """The clock that stamps events (UTC): the ledger server's, or this host's for a file."""
        ...

    async def load_projection(self, name: str) -> tuple[int, list[StoredProjection]]:
        """The seq a projection stands at (0 if it was never stored) and its rows."""
        ...

    async def save_projection(
        self,
        name: str,
        *,
        base_seq: int,
        seq: int,
        changed: Sequence[StoredProjection],
    ) -> bool:
        """Upsert rows and move the projection from `base_seq` to `seq`, in one transaction.

        Returns False, having stored nothing, if it no longer stands at `base_seq`.
        With `base_seq` -1 all its rows are replaced whatever it stood at. Raises
        NewerLedgerError.
        """
        ...

    async def aclose(self) -> None:
        """Finish what is queued, within a deadline, and close. May be called twice."""
        ...
