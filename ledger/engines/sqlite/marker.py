"""The marker table inside a SQLite tenant: the fence, and one entry per migration.

Invariant: all functions that write run inside a transaction that the caller
opened with BEGIN IMMEDIATE, so that fence, statements and entry commit as one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from typing import Final

import msgspec

from ledger.drivers.url import file_uri
from ledger.engines.entries import StoredRef, adopted, require_epoch, require_own, settled
from ledger.engines.work import Marker, MarkerEntry, Work
from ledger.errors import TenantError
from ledger.events import MigrationRef

CREATE_MARKER: Final = """
CREATE TABLE IF NOT EXISTS main.ledger_marker (
  id    TEXT NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL,
  body  TEXT NOT NULL
) WITHOUT ROWID
"""
"""`id` is SET/VERSION and `body` the entry as JSON; in the one row with the empty `id`,
`epoch` is the fence and `body` the ledger's id. WITHOUT ROWID: a page holds 13 settled entries, and there is
no second tree for the key."""

HAS_MARKER: Final = """
SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = 'ledger_marker'
"""
READ_MARKER: Final = "SELECT id, epoch, body FROM main.ledger_marker ORDER BY id"
READ_OWNER: Final = "SELECT body FROM main.ledger_marker WHERE id = ''"
PUT_ROW: Final = "INSERT OR REPLACE INTO main.ledger_marker (id, epoch, body) VALUES (?, ?, ?)"
DELETE_ROW: Final = "DELETE FROM main.ledger_marker WHERE id = ?"
DELETE_ENTRIES: Final = "DELETE FROM main.ledger_marker WHERE id <> ''"


class _Stored(MarkerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """An entry as its row has it."""

    ref: StoredRef

    @property
    def entry(self) -> MarkerEntry:
        """The entry itself."""
        fields = {name: getattr(self, name) for name in MarkerEntry.__struct_fields__}
        return MarkerEntry(**fields | {"ref": self.ref.ref})


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Stored)


def has_marker(database: sqlite3.Connection) -> bool:
    """Whether the tenant has the table."""
    return database.execute(HAS_MARKER).fetchone() is not None


def read_marker(database: sqlite3.Connection, *, tenant: str) -> Marker:
    """What the tenant remembers; an empty Marker without the table. Raises TenantError if unreadable."""
    if not has_marker(database):
        return Marker()
    epoch, ledger = 0, ""
    entries, longer = [], []
    for row_id, row_epoch, body in database.execute(READ_MARKER):
        if row_id == "":
            epoch, ledger = row_epoch, body
            continue
        try:
            stored = _DECODER.decode(body)
        except (msgspec.DecodeError, TypeError) as error:
            raise TenantError(
                f"the marker entry {row_id!r} cannot be read: {error}",
                hint="Take it over with `ledger baseline --tenant NAME --to VERSION`, or bring a backup back with "
                "`ledger restore --tenant NAME`.",
                tenant=tenant,
            ) from error
        entry = stored.entry
        entries.append(entry)
        short = settled(entry)
        if entry.state == "applied" and (short != entry or stored.ref.sources):
            longer.append(short)
    return Marker(epoch=epoch, ledger=ledger, entries=tuple(entries), longer=tuple(longer))


def read_owner(path: str) -> str:
    """The id of the ledger that a database file's marker names; nothing where none can be read."""
    try:
        with closing(sqlite3.connect(file_uri(path, mode="ro"), uri=True, timeout=0)) as database:
            row = database.execute(READ_OWNER).fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def own_entry(marker: Marker, work: Work) -> MarkerEntry | None:
    """The migration's own entry, if it has one."""
    own = work.ref.id
    return next((entry for entry in marker.entries if entry.ref.id == own), None)


def admit(marker: Marker, *, epoch: int, ledger: str, tenant: str) -> None:
    """Raises FencedError if the tenant has seen a newer claim, TenantError if another ledger's."""
    require_own(marker.ledger, ledger, tenant=tenant)
    require_epoch(marker.epoch, epoch, tenant=tenant)


def put_fence(
    database: sqlite3.Connection, marker: Marker | None, *, epoch: int, ledger: str
) -> None:
    """Set the fence, unless `marker` says that it stands so already."""
    if marker is None or (marker.epoch, marker.ledger) != (epoch, ledger):
        database.execute(PUT_ROW, ("", epoch, ledger))


def put_entry(database: sqlite3.Connection, entry: MarkerEntry) -> None:
    """Write a migration's entry."""
    stored = msgspec.structs.replace(entry, ref=StoredRef.of(entry.ref))
    database.execute(PUT_ROW, (entry.ref.id, entry.epoch, _ENCODER.encode(stored).decode()))


def put_settled(database: sqlite3.Connection, marker: Marker, recorded: Collection[str]) -> None:
    """Shorten the entries of migrations that the ledger has `recorded` as applied (ids)."""
    for entry in marker.longer:
        if entry.ref.id in recorded:
            put_entry(database, entry)


def drop_entry(database: sqlite3.Connection, ref: MigrationRef) -> None:
    """Remove a migration's entry."""
    database.execute(DELETE_ROW, (ref.id,))


def replace_entries(
    database: sqlite3.Connection, marker: Marker, refs: Sequence[MigrationRef], *, epoch: int
) -> None:
    """Make exactly `refs` applied; what the marker already knew of them is kept."""
    database.execute(DELETE_ENTRIES)
    for entry in adopted(marker.entries, refs, epoch=epoch):
        put_entry(database, entry)
