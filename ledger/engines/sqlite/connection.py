"""The settings of every connection to a tenant, made before anything else runs on it.

Invariant: what we commit survives a power loss, and what fails is rolled back, whatever
the statements of a session or a migration say. With `synchronous = FULL` the removal of the rollback journal, which
is the commit, may be lost until the folder is synced, and the commit with it: who
asks for FULL calls `sync_commits` before it reports success.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ledger.drivers.application import equip
from ledger.engines.base import Target
from ledger.engines.sqlite.steps import or_busy
from ledger.engines.sqlite.trouble import OF_THE_FILE, BusyError, described, is_busy, primary_code
from ledger.errors import ConfigError, UnreachableError

FULL: Final = 2
EXTRA: Final = 3
"""PRAGMA synchronous: https://www.sqlite.org/pragma.html#pragma_synchronous"""


_NO_WAY_BACK: Final = ("off", "memory")
"""Journal modes in which a failed statement (`off`), or a process that is killed, leaves a
corrupt file: https://www.sqlite.org/pragma.html#pragma_journal_mode"""


def prepare_connection(
    database: sqlite3.Connection, target: Target, *, synchronous: int = EXTRA
) -> bool:
    """The session's settings; the first of them reads the schema, so that what is no database is refused now.

    Returns whether foreign keys are enforced. Raises BusyError while another
    connection keeps all others from reading.
    """
    equip_for(database, target)
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
    if target.session or target.application is not None:
        keep_durable(database, synchronous=synchronous)
    return foreign_keys_enforced(database)


def equip_for(database: sqlite3.Connection, target: Target) -> None:
    """The application's functions, collations and extensions, where the target names any.

    Raises BusyError; sqlite3.Error for a file that cannot be used; UnreachableError for all else.
    """
    if target.application is None:
        return
    try:
        equip(database, target.application)
    except ConfigError as error:
        raise UnreachableError(error.message, hint=error.hint, tenant=target.name) from error
    except sqlite3.Error as error:
        if is_busy(error):
            raise BusyError from error
        if primary_code(error) in OF_THE_FILE:
            raise
        raise UnreachableError(
            f"{target.application.functions} failed: {described(error)}",
            hint=f"Correct it, or `functions` in {target.source}.",
            tenant=target.name,
        ) from error


def foreign_keys_enforced(database: sqlite3.Connection) -> bool:
    """Whether foreign keys are enforced on the connection now."""
    return bool(database.execute("PRAGMA foreign_keys").fetchone()[0])


def keep_durable(database: sqlite3.Connection, *, synchronous: int) -> None:
    """Put back what statements that are not ours took from a commit, or from the way back.

    Raises BusyError while another connection keeps the mode from being changed.
    """
    if database.execute("PRAGMA synchronous").fetchone()[0] < synchronous:
        or_busy(database, f"PRAGMA synchronous = {synchronous}")
    if database.execute("PRAGMA main.journal_mode").fetchone()[0] in _NO_WAY_BACK:
        or_busy(database, "PRAGMA main.journal_mode = DELETE")
