"""The marker table inside a SQLite tenant: the fence, and one entry per migration.

Invariant: all functions that write run inside a transaction that the caller
opened with BEGIN IMMEDIATE, so that fence, statements and entry commit as one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from ledger.engines.base import Marker, MarkerEntry
from ledger.errors import FencedError, MarkerMismatchError, TenantError
from ledger.events import MigrationRef

CREATE_MARKER: Final = """
CREATE TABLE IF NOT EXISTS main.ledger_marker (
  id    TEXT NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL,
  body  TEXT NOT NULL
) WITHOUT ROWID
"""
"""`id` is SET/VERSION and `body` the entry as JSON; in the one row with the empty `id`,
`epoch` is the fence and `body` the ledger's id."""

HAS_MARKER: Final = """
SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = 'ledger_marker'
"""
READ_MARKER: Final = "SELECT id, epoch, body FROM main.ledger_marker ORDER BY id"
PUT_ROW: Final = "INSERT OR REPLACE INTO main.ledger_marker (id, epoch, body) VALUES (?, ?, ?)"
DELETE_ROW: Final = "DELETE FROM main.ledger_marker WHERE id = ?"
DELETE_ENTRIES: Final = "DELETE FROM main.ledger_marker WHERE id <> ''"

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(MarkerEntry)


def entry_id(ref: MigrationRef) -> str:
    """`SET/VERSION`."""
    return f"{ref.set}/{ref.version}"


def has_marker(database: sqlite3.Connection) -> bool:
    """Whether the tenant has the table."""
    return database.execute(HAS_MARKER).fetchone() is not None


def read_marker(database: sqlite3.Connection, *, tenant: str) -> Marker:
    """What the tenant remembers; an empty Marker without the table. Raises TenantError if unreadable."""
    if not has_marker(database):
        return Marker()
    epoch, ledger = 0, ""
    entries = []
    for row_id, row_epoch, body in database.execute(READ_MARKER):
        if row_id == "":
            epoch, ledger = row_epoch, body
            continue
        try:
            entries.append(_DECODER.decode(body))
        except (msgspec.DecodeError, TypeError) as error:
            raise TenantError(
                f"the marker entry {row_id!r} cannot be read: {error}",
                hint="Take it over with `ledger baseline`, or bring a backup back with "
                "`ledger restore`.",
                tenant=tenant,
            ) from error
    return Marker(epoch=epoch, ledger=ledger, entries=tuple(entries))


def admit(marker: Marker, *, epoch: int, ledger: str, tenant: str) -> None:
    """Raises FencedError if the tenant has seen a newer claim, TenantError if another ledger's."""
    if marker.ledger not in ("", ledger):
        raise TenantError(
            f"this tenant belongs to another ledger ({marker.ledger}, not {ledger})",
            hint="If this ledger is to take it over, run `ledger baseline` for it.",
            tenant=tenant,
        )
    if marker.epoch > epoch:
        raise FencedError(
            f"a newer claim (epoch {marker.epoch}, ours is {epoch}) has passed on this tenant",
            found=marker.epoch,
            tenant=tenant,
        )


def require_expected(
    marker: Marker, ref: MigrationRef, expected: frozenset[str], *, tenant: str
) -> None:
    """Raises MarkerMismatchError unless what is applied, `ref` apart, is `expected`.

    A migration whose down steps have only begun still counts as applied.
    """
    own = entry_id(ref)
    applied = {
        entry_id(entry.ref)
        for entry in marker.entries
        if entry.state == "applied" or entry.direction == "down"
    } - {own}
    if applied == expected - {own}:
        return
    missing = tuple(sorted(expected - applied - {own}))
    extra = tuple(sorted(applied - expected))
    parts = [f"it lacks {', '.join(missing)}"] * bool(missing)
    parts += [f"it has {', '.join(extra)} besides"] * bool(extra)
    raise MarkerMismatchError(
        f"the tenant's marker and the ledger disagree on what is applied: {'; '.join(parts)}",
        missing=missing,
        extra=extra,
        hint="The tenant, or the ledger, was put back to an older state; `ledger status` shows "
        "which, and the next `ledger migrate` brings a regressed tenant forward.",
        tenant=tenant,
    )


def put_fence(
    database: sqlite3.Connection, marker: Marker | None, *, epoch: int, ledger: str
) -> None:
    """Set the fence, unless `marker` says that it stands so already."""
    if marker is None or (marker.epoch, marker.ledger) != (epoch, ledger):
        database.execute(PUT_ROW, ("", epoch, ledger))


def put_entry(database: sqlite3.Connection, entry: MarkerEntry) -> None:
    """Write a migration's entry."""
    database.execute(PUT_ROW, (entry_id(entry.ref), entry.epoch, _ENCODER.encode(entry).decode()))


def drop_entry(database: sqlite3.Connection, ref: MigrationRef) -> None:
    """Remove a migration's entry."""
    database.execute(DELETE_ROW, (entry_id(ref),))


def replace_entries(
    database: sqlite3.Connection, marker: Marker, refs: Sequence[MigrationRef], *, epoch: int
) -> None:
    """Make exactly `refs` applied; what the marker already knew of them is kept."""
    known = {entry.ref: entry for entry in marker.entries if entry.state == "applied"}
    database.execute(DELETE_ENTRIES)
    for ref in refs:
        put_entry(
            database,
            known.get(ref)
            or MarkerEntry(ref=ref, state="applied", direction="up", step=0, epoch=epoch),
        )
