"""What the store and the databases that can hold a ledger have in common: requests, rows, and `Database`.

A `Database` is the part that differs by database; all else of a ledger stands once, in `store.py`.
Adding one: docs/adding-a-database.md.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec

from ledger.errors import NoLedgerError, StoreUnavailableError
from ledger.events import NewEvent

LEDGER_SCHEMA = 2
"""The number of the ledger's own tables; an older ledger is brought forward when it is opened."""

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


Encoded = tuple[str, str, str, bytes]
"""A new event with its body encoded: type, run, actor and body.
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

    `tenant`, `run` and `actor` may hold `*` and `?`; `migration` is VERSION or SET/VERSION. With
    `last`, only the newest `last` matching events come, still in seq order.
    """

    after_seq: int = 0
    until_seq: int | None = None
    stream: str | None = None
    tenant: str | None = None
    types: tuple[str, ...] = ()
    run: str | None = None
    actor: str | None = None
    migration: str | None = None
    since: str | None = None
    until: str | None = None
    last: int | None = None


class StoredProjection(msgspec.Struct, frozen=True, kw_only=True):
    """One row of folded state. All rows of a `name` stand at one seq, which `meta` holds."""

    key: str
    state: bytes


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One of the ledger's tables, in words that each database replaces by its own (`Spelling.words`).

    `columns` holds the type of each column, `constraints` what follows them, `options` what
    follows the parenthesis. A column whose name is itself a word is spelled by it.
    """

    name: str
    columns: Mapping[str, str]
    constraints: tuple[str, ...] = ()
    options: str = "{table}"


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """How a database writes what SQL leaves to each.

    `words` are those of `schema.TABLES`. `as_bytes` reads a text column as bytes. `clock` is the
    time in a query, which `Connection.moment` reads. `like` is a condition on a column, and
    `pattern` turns `*` and `?` into what it takes. `seq_in_stream` is `seq` where the index of
    streams shall be used. `lock` ends a SELECT that locks its rows. `view` is the view of events
    in words, `event_log`.
    """

    words: Mapping[str, str]
    as_bytes: str
    clock: str
    view: str
    like: str
    pattern: Callable[[str], str]
    seq_in_stream: str = "seq"
    lock: str = ""


Row = tuple[Any, ...]
T = TypeVar("T")


class Connection(Protocol):
    """An open connection. In SQL, `?` stands for a parameter and for nothing else.

    Every method raises the driver's errors, which the `Database` translates.
    """

    async def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one statement; all its rows."""
        ...

    async def insert(self, table: Table, rows: Sequence[Row], *, replace: bool = False) -> None:
        """Insert rows, whose values stand in the order of the table's columns, in as few statements as fit.

        With `replace`, a row that has the same primary key is replaced.
        """
        ...

    async def lock_head(self) -> list[Row]:
        """Lock the head row until the transaction ends: its seq and hash, the ledger's schema number
        (None without one), and the time in microseconds since 1970. No row if the head row is gone.

        The time may be from before the lock was granted.
        """
        ...

    def moment(self, clock: object) -> int:
        """The time in microseconds since 1970, UTC, at which a query read `Spelling.clock`."""
        ...

    async def columns(self) -> list[tuple[str, str]]:
        """Table and column, for every table that may be a ledger's or prevents one from being made here."""
        ...

    async def change_layout(self, statement: str) -> None:
        """Run a statement that makes or changes a table, or succeed if an earlier attempt has run it."""
        ...


class Database(Protocol):
    """One database that holds, or shall hold, a ledger.

    `url` is redacted: it never holds a password. Every method raises StoreUnavailableError,
    with a hint, for what its driver raises, and DuplicateKeyError where a unique index, or a
    trigger, refuses a row.
    """

    url: str
    spelling: Spelling
    triggers: Sequence[str]
    """The statements by which the database refuses to change or delete events and texts."""

    async def open(self, *, create: bool) -> None:
        """Connect. With `create`, make the file or the database if there is none, still empty.

        Raises NoLedgerError for one that is missing, StoreUnavailableError for what cannot hold a ledger.
        """
        ...

    async def aclose(self) -> None:
        """Close within a deadline. May be called twice."""
        ...

    async def read(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Run short queries; they may run once more, on a new connection, if theirs is lost."""
        ...

    async def fetch(self, sql: str, values: Sequence[object]) -> list[Row]:
        """Run one query that may read much of the ledger."""
        ...

    async def write(self, work: Callable[[Connection, bool], Coroutine[Any, Any, T]]) -> T:
        """Run `work` in a transaction until it is known to be durably committed, one at a time.

        A lock that others hold is waited for, within a limit. The second argument of `work` is
        True if an earlier attempt may have been committed. `work` awaits nothing but its connection.
        """
        ...

    async def make(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Run `work`, which makes or changes tables, while no other process does.

        In one transaction where the database can do that; elsewhere `work` can be repeated.
        """
        ...

    async def now(self) -> datetime:
        """The clock that stamps events (UTC)."""
        ...

    def refuse(self, request: Prepared) -> None:
        """Raise StoreError for a request that the database could not hold."""
        ...

    def missing(self) -> NoLedgerError:
        """The error for a database that holds no ledger, where none is to be made."""
        ...

    def foreign(self) -> StoreUnavailableError:
        """The error for a database that holds something else."""
        ...
