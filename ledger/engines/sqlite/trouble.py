"""What SQLite says, translated once into the product's errors.

Invariant: nothing above this package sees a sqlite3 exception; a message names
what is wrong, the code SQLite gave, and what to do next.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ledger.dialects.steps import Step
from ledger.drivers.locks import lock_holders
from ledger.engines.work import mend
from ledger.errors import DiskFullError, LockedError, StepFailedError, TenantError, UnreachableError
from ledger.events import Direction

REFUSALS: Final = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, TypeError)
"""All that executing a statement may raise: the module's own two trees, and Python's word on
a NUL character, a lone surrogate or a parameter of a type that SQLite has not."""

LOCK_SECONDS: Final = 30.0
"""How long we wait, in all, for another connection's lock."""

_HINTS: Final = {
    sqlite3.SQLITE_NOTADB: "Check that the path is right and the file is not encrypted; "
    "`ledger restore --tenant NAME` brings a backup back.",
    sqlite3.SQLITE_CORRUPT: "Keep a copy of the file as it is, then bring a backup back with "
    "`ledger restore --tenant NAME`.",
    sqlite3.SQLITE_READONLY: "Make the file and its folder writable for the user who runs this.",
    sqlite3.SQLITE_CANTOPEN: "Check the permissions of the file and of its folder (SQLite writes "
    "its journal there).",
    sqlite3.SQLITE_PERM: "Check the permissions of the file and of its folder.",
    sqlite3.SQLITE_FULL: "Free disk space (or raise max_page_count), then run the command again.",
    sqlite3.SQLITE_IOERR: "Check the disk, its free space and the limits on file size, then run "
    "the command again.",
    sqlite3.SQLITE_NOMEM: "Free memory, then run the command again.",
}

DAMAGED: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
"""Primary result codes after which only a restore helps."""

OF_THE_FILE: Final = frozenset(_HINTS)
"""Primary result codes that say something of the file or its place, and not of a statement."""

_UNRECOVERED: Final = (
    "A program that was killed has left changes beside the file that have to be brought in or rolled"
    " back first, which writes. Open it once (the application, or any command here) as a user who may"
    " write the file and its folder."
)
_EXACT_HINTS: Final = {
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "Foreign keys are enforced here. A file that rebuilds a"
    " table says `PRAGMA foreign_keys = OFF` as its first statement; what dangles at its end is found.",
    sqlite3.SQLITE_READONLY_ROLLBACK: _UNRECOVERED,
    sqlite3.SQLITE_READONLY_RECOVERY: _UNRECOVERED,
    sqlite3.SQLITE_READONLY_CANTINIT: _UNRECOVERED,
}
"""By the extended result code."""


class BusyError(Exception):
    """Another connection holds a lock that BEGIN, COMMIT or a backup needs: wait, and try again.

    Internal to this package; `patiently` turns it into LockedError.
    """


class StoppedError(Exception):
    """The function stopped between two statements, since its caller no longer waits. Internal to this package."""


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code (the low byte of the extended one), or -1."""
    code = getattr(error, "sqlite_errorcode", None)
    return int(code) & 0xFF if isinstance(code, int) else -1


def is_busy(error: BaseException) -> bool:
    """Whether a lock of another connection is the reason."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def code_name(error: BaseException) -> str:
    """The extended result code's name, such as SQLITE_CONSTRAINT_UNIQUE, or empty."""
    return str(getattr(error, "sqlite_errorname", "") or "")


def described(error: BaseException) -> str:
    """SQLite's message and its code's name."""
    name = code_name(error)
    return f"{error} ({name})" if name else str(error)


def hint_for(error: BaseException) -> str:
    """What to do about a result code, or nothing."""
    extended = getattr(error, "sqlite_errorcode", None)
    if extended in _EXACT_HINTS:
        return _EXACT_HINTS[extended]
    return _HINTS.get(primary_code(error), "")


def step_error(error: BaseException) -> type[StepFailedError]:
    """The class of the error for a step that met this."""
    return DiskFullError if primary_code(error) == sqlite3.SQLITE_FULL else StepFailedError


def refused(error: BaseException, *, tenant: str, doing: str) -> TenantError:
    """What an open database could not do, apart from any step. `doing` completes "cannot …"."""
    if step_error(error) is DiskFullError:
        return DiskFullError(
            f"cannot {doing}: {described(error)}",
            step=0,
            database_code=code_name(error),
            hint=hint_for(error),
            tenant=tenant,
        )
    return unusable(error, tenant=tenant, doing=doing)


def unusable(error: BaseException, *, tenant: str, doing: str, path: str = "") -> UnreachableError:
    """The database cannot be used. `doing` completes "cannot …"; `path` is its file, where it was to be opened."""
    what = described(error)
    if primary_code(error) == sqlite3.SQLITE_NOTADB:
        what = f"the file is not a SQLite database, or it is encrypted ({code_name(error)})"
    hint = hint_for(error)
    if path and primary_code(error) == sqlite3.SQLITE_CANTOPEN and _has_wal(path):
        hint = _UNRECOVERED
    return UnreachableError(f"cannot {doing}: {what}", hint=hint, tenant=tenant)


def _has_wal(path: str) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except OSError:
        return False


def locked(*, tenant: str, path: str, doing: str, seconds: float) -> LockedError:
    """Another connection kept its lock."""
    holders = lock_holders(path)
    return LockedError(
        f"cannot {doing}: {holders or 'another connection'} kept the database locked"
        f" for {seconds:g} s",
        hint=("" if holders else "Find the program that has a transaction open (`fuser FILE`). ")
        + "Let it finish, or go on if it is stopped (`kill -CONT`), then run the command again.",
        tenant=tenant,
    )


def left_behind(*, landed: bool) -> str:
    """What a failure left of a migration, as part of a sentence."""
    return "what landed before stays" if landed else "nothing was changed"


def step_failed(
    error: BaseException,
    step: Step,
    *,
    tenant: str,
    migration: str,
    landed: bool = False,
    direction: Direction = "up",
) -> StepFailedError:
    """The database refused a step. A secret step shows the code alone: messages quote literals.

    `landed` says that earlier steps are committed.
    """
    name = code_name(error)
    again = mend(
        direction, migration, otherwise="Correct the statement, then run the command again"
    )
    if step.secret:
        what = f"the database refused the statement ({name or type(error).__name__})"
        hint = "SQLite's message is withheld, since the step is marked secret."
    else:
        what, hint = described(error), hint_for(error)
    return step_error(error)(
        f"step {step.number} ({step.name}): {what}" if step.name else f"step {step.number}: {what}",
        step=step.number,
        database_code=name,
        hint=hint or f"{again}; {left_behind(landed=landed)}.",
        tenant=tenant,
        migration=migration,
        file=step.file,
        line=step.line,
    )
