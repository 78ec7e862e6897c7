"""What the driver raises, in the product's own words, once and in one place.

Invariant: no message holds a password, nor a literal of a step marked secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ledger.dialects.steps import Step
from ledger.drivers.mysql_errors import (
    ConnectionLostError,
    ConnectRefusedError,
    DriverError,
    QueryError,
    QueryTimeoutError,
)
from ledger.engines.base import Target
from ledger.engines.work import mend
from ledger.errors import LockedError, StepFailedError, TenantError, UnreachableError
from ledger.events import Direction

NO_SUCH_TABLE: Final = 1146
DUPLICATE_KEY: Final = 1062
DEADLOCK: Final = 1213
LOCK_WAIT: Final = 1205
TRY_AGAIN: Final = frozenset({DEADLOCK, LOCK_WAIT})
NO_ROOM: Final = frozenset({3, 1021, 1030, 1114})
"""A disk is full, or a table has reached a limit of its own; the server does not always know which."""

NO_PRIVILEGE: Final = frozenset({1044, 1095, 1142, 1143, 1227, 1370, 1410})

_HINTS: Final = {
    1044: "Grant the account access to the database.",
    1045: "Check the user and where the password comes from; it was read a second time.",
    1049: "Create the database, or take the tenant out of the configuration.",
    1698: "This account logs in over the server's socket only; use another one.",
    1040: "The server is full; lower max_connections, or raise the server's.",
    1203: "The account has all its connections in use; lower max_connections.",
    1226: "The account has used up its hourly limit.",
    2003: "Check that the server runs and that host and port are right.",
    2012: "Check host and port; something else may be listening there.",
    2026: "Check ssl_ca (and ssl_cert, ssl_key), and that the certificate names this host.",
    2059: "Use an account with caching_sha2_password or mysql_native_password, or TLS (ssl_ca).",
}


def unreachable(error: DriverError, target: Target) -> UnreachableError:
    """A database that cannot be opened: the server's own words, and what to do."""
    return UnreachableError(
        f"the database cannot be opened: {error}",
        hint=_HINTS.get(error.code, "See the server's own log for the reason."),
        tenant=target.name,
    )


def lost(error: DriverError, target: Target, doing: str = "") -> UnreachableError:
    """A connection that went away in the middle; a second run finds out what landed."""
    where = f" during {doing}" if doing else ""
    return UnreachableError(
        f"the connection was lost{where}: {error}",
        hint="Run the same command again; it finds out what landed and goes on from there.",
        tenant=target.name,
    )


def locked(error: QueryError, target: Target, doing: str, *, stays: str = "") -> LockedError:
    """Another connection has kept a lock; `stays` says what of the work is done already."""
    return LockedError(
        f"{doing}: another connection has kept a lock for too long ({error.message}){stays}",
        hint="End what holds it (SHOW FULL PROCESSLIST shows the connections), then run the command again.",
        tenant=target.name,
    )


@contextmanager
def translated(target: Target, doing: str = "") -> Iterator[None]:
    """Driver errors that the block does not handle leave as TenantError."""
    try:
        yield
    except ConnectRefusedError as error:
        raise unreachable(error, target) from error
    except (ConnectionLostError, QueryTimeoutError) as error:
        raise lost(error, target, doing) from error
    except QueryError as error:
        if error.code == LOCK_WAIT:
            raise locked(error, target, doing) from error
        hint = "Run the command again; if it stays so, see the server's own log."
        if error.code in NO_PRIVILEGE:
            hint = "Grant the account the privilege that the message names."
        where = f"{doing}: " if doing else ""
        raise TenantError(f"{where}{error}", hint=hint, tenant=target.name) from error


def step_failed(
    error: QueryError,
    step: Step,
    *,
    target: Target,
    migration: str,
    more: str = "",
    direction: Direction = "up",
) -> StepFailedError:
    """A refused statement: the server's own words with file and line; none of them if it is secret."""
    said = error.message
    if step.secret:
        said = "the server refused it; its words are withheld, since the step is marked secret"
    again = mend(direction, migration, otherwise="Correct the migration, and run the command again")
    if error.code in NO_ROOM:
        again = "Free room on the server's disk, or raise the limit that is reached, and run the command again"
    return StepFailedError(
        f"step {step.number} ({step.name}): {said}{more}",
        step=step.number,
        database_code=str(error.code),
        hint=f"{again}; what landed before stays.",
        tenant=target.name,
        migration=migration,
        file=step.file,
        line=step.line,
    )
