"""What `doctor` finds in a SQLite tenant.

Invariant: the file is opened for reading only, and no setting of the session that
could change it (`journal_mode`) is run.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from ledger.dialects.steps import MARKER_TABLE
from ledger.engines.base import Target
from ledger.engines.probes import SHOWN, Probe, Probed, probed, quoted
from ledger.engines.sqlite.marker import read_marker
from ledger.engines.sqlite.soundness import find_damage
from ledger.engines.sqlite.trouble import described
from ledger.engines.work import Marker
from ledger.errors import TenantError

LEAST_VERSION: Final = (3, 35, 0)


def probe(database: sqlite3.Connection, target: Target, path: str, *, quick: bool) -> Probed:
    """In the connection's thread: everything that reading shows.

    Raises sqlite3.Error for a file that is no database at all.
    """
    database.execute("SELECT 1 FROM main.sqlite_master LIMIT 1")
    probes = [
        _version(),
        _integrity(database, quick=quick),
        _foreign_keys(database),
        _writable(path),
        _room(path),
    ]
    marker: Marker | Exception
    try:
        marker = read_marker(database, tenant=target.name)
    except (TenantError, sqlite3.Error) as error:
        marker = error
    return probed(probes, marker, table=MARKER_TABLE)


def _version() -> Probe:
    text = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < LEAST_VERSION:
        return Probe(
            check="version",
            level="failed",
            detail=f"SQLite {text} is older than 3.35",
            hint="Use a Python that is built with a newer SQLite.",
        )
    return Probe(check="version", detail=f"SQLite {text}")


def _integrity(database: sqlite3.Connection, *, quick: bool) -> Probe:
    """Every page, and (not `quick`) every index against its table."""
    pragma = "quick_check" if quick else "integrity_check"
    try:
        found = find_damage(database, most=SHOWN, quick=quick)
    except sqlite3.DatabaseError as error:
        found = (described(error),)
    if not found:
        return Probe(check="integrity", detail=f"{pragma}: ok")
    return Probe(
        check="integrity",
        level="failed",
        detail=f"{pragma}: " + "; ".join(found),
        hint="Do not migrate it. `ledger restore --tenant NAME` brings a backup back; `.recover` of the sqlite3"
        " client saves what can be read.",
    )


def _foreign_keys(database: sqlite3.Connection) -> Probe:
    counts: dict[tuple[str, str], int] = {}
    try:
        for table, _row, parent, _key in database.execute("PRAGMA main.foreign_key_check"):
            counts[table, parent] = counts.get((table, parent), 0) + 1
    except sqlite3.DatabaseError as error:
        return Probe(
            check="foreign_keys",
            level="failed",
            detail=described(error),
            hint="A declared foreign key does not fit its parent table; correct it by a migration.",
        )
    if not counts:
        return Probe(check="foreign_keys", detail="no orphans")
    dangling = [
        f"{count} rows of {table} refer to no row of {parent}"
        for (table, parent), count in sorted(counts.items())
    ]
    return Probe(
        check="foreign_keys",
        level="failed",
        detail=quoted(dangling),
        hint="`PRAGMA foreign_key_check` lists the rows; delete or mend them.",
    )


def _writable(path: str) -> Probe:
    if path == ":memory:" or (os.access(path, os.W_OK) and os.access(Path(path).parent, os.W_OK)):
        return Probe(check="privileges", detail="file and folder can be written")
    return Probe(
        check="privileges",
        level="failed",
        detail="the file, or the folder that its journal is written to, cannot be written",
        hint=f"Give this user write access to {path} and to its folder.",
    )


def _room(path: str) -> Probe:
    """A migration may write every page once to the journal, and a table rebuild needs it twice."""
    if path == ":memory:":
        return Probe(check="disk")
    size = Path(path).stat().st_size
    free = shutil.disk_usage(Path(path).parent).free
    if free < 2 * size:
        return Probe(
            check="disk",
            level="failed" if free < size else "warning",
            detail=f"{free} bytes are free beside a database of {size}",
            hint="A migration may need twice the database's size for its journal; free some space.",
        )
    return Probe(check="disk", detail=f"{free} bytes free")
