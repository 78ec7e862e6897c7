"""What every connection to a tenant is told before anything else runs on it.

Invariant: what we commit survives a power loss, whatever the session's
statements say (`synchronous` is FULL or EXTRA).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ledger.engines.base import Target
from ledger.engines.sqlite.trouble import is_busy
from ledger.errors import UnreachableError

FULL: Final = 2
"""PRAGMA synchronous; EXTRA is 3, and is left as it is."""


def prepare_connection(database: sqlite3.Connection, target: Target) -> bool:
    """The session's settings, and a first read, so that what is no database is refused now.

    Returns whether foreign keys are enforced.
    """
    database.execute(f"PRAGMA synchronous = {FULL}")
    for statement in target.session:
        try:
            database.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise UnreachableError(
                f"the session statement {statement!r} failed: {error}",
                hint=f"Correct `session` in {target.source}.",
                tenant=target.name,
            ) from error
    if target.session and database.execute("PRAGMA synchronous").fetchone()[0] < FULL:
        database.execute(f"PRAGMA synchronous = {FULL}")
    try:
        database.execute("SELECT 1 FROM main.sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError as error:
        # A lock is no reason to call the tenant unreachable: whoever needs it waits for it.
        if not is_busy(error):
            raise
    return bool(database.execute("PRAGMA foreign_keys").fetchone()[0])
