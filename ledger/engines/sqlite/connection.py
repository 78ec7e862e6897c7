"""What every connection to a tenant is told before anything else runs on it.

Invariant: what we commit survives a power loss, whatever the session's
statements say. With `synchronous = FULL` the removal of the rollback journal, which
is the commit, may be lost until the folder is synced, and the commit with it: who
asks for FULL calls `sync_commits` before anybody is told.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ledger.engines.base import Target
from ledger.engines.sqlite.steps import or_busy
from ledger.errors import UnreachableError

FULL: Final = 2
EXTRA: Final = 3
"""PRAGMA synchronous: https://www.sqlite.org/pragma.html#pragma_synchronous"""


def prepare_connection(
    database: sqlite3.Connection, target: Target, *, synchronous: int = EXTRA
) -> bool:
    """The session's settings; the first of them reads the schema, so that what is no database is refused now.

    Returns whether foreign keys are enforced. Raises BusyError while another
    connection keeps all others from reading.
    """
    or_busy(database, f"PRAGMA synchronous = {synchronous}")
    for statement in target.session:
        try:
            or_busy(database, statement)
        except sqlite3.Error as error:
            raise UnreachableError(
                f"the session statement {statement!r} failed: {error}",
                hint=f"Correct `session` in {target.source}.",
                tenant=target.name,
            ) from error
    if target.session and database.execute("PRAGMA synchronous").fetchone()[0] < synchronous:
        or_busy(database, f"PRAGMA synchronous = {synchronous}")
    return bool(database.execute("PRAGMA foreign_keys").fetchone()[0])
