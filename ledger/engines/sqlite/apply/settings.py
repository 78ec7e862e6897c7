"""PRAGMAs that only an empty database takes: page_size, auto_vacuum and encoding.

SQLite ignores them without a word in a database that has been written to. Invariant: a migration that
has one either gets what it says or is refused before its first write.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from ledger.dialects.sqlite.pragmas import read_pragma, value_set
from ledger.dialects.steps import Section, Step
from ledger.engines.sqlite.marker import CREATE_MARKER, PUT_ROW, READ_MARKER, admit, read_marker
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.steps import commit, first_words, or_busy
from ledger.engines.sqlite.trouble import BusyError
from ledger.engines.work import Work
from ledger.errors import StepFailedError

OTHERS: Final = """
SELECT 1 FROM main.sqlite_master WHERE tbl_name <> 'ledger_marker' AND name NOT LIKE 'sqlite_%' LIMIT 1
"""
_KEPT: Final = ("page_size", "auto_vacuum", "user_version", "application_id")
_BY_VACUUM: Final = frozenset({"page_size", "auto_vacuum"})
_INCREMENTAL: Final = (1, 2)
"""auto_vacuum FULL and INCREMENTAL: between the two it can be changed at any time.
https://www.sqlite.org/pragma.html#pragma_auto_vacuum"""


def set_in_new_file(database: sqlite3.Connection, path: str, section: Section) -> None:
    """Before the first transaction of an empty database: what the section says of it.

    Without a transaction only what stands before every other statement is meant for it. A file that
    holds our marker alone (a backup of an empty one was restored) is written anew.
    """
    steps = _meant(section)
    if not steps:
        return
    written = not _is_empty(path)
    if written and database.execute(OTHERS).fetchone() is not None:
        return
    lacking = [step for step in steps if lacks(database, step.sql)]
    for step in lacking:
        database.execute(step.sql).fetchall()
    if written and lacking:
        or_busy(database, "VACUUM")


async def take_encoding(opened: Opened, work: Work) -> None:
    """Write a file that holds our marker alone anew, in the text encoding that the section sets."""
    sets = [step.sql for step in _meant(work.section) if _names(step, "encoding")]
    if not sets or _is_empty(opened.path):
        return

    def write(database: sqlite3.Connection) -> str:
        if not lacks(database, sets[0]) or database.execute(OTHERS).fetchone() is not None:
            return ""
        (mode,) = database.execute("PRAGMA main.journal_mode").fetchone()
        if mode == "wal":
            or_busy(database, "PRAGMA main.journal_mode = DELETE")
        # The lock stays from the look at the fence to the end of the copy.
        database.execute("PRAGMA main.locking_mode = EXCLUSIVE").fetchall()
        or_busy(database, "BEGIN EXCLUSIVE")
        marker = read_marker(database, tenant=opened.tenant)
        admit(marker, epoch=work.epoch, ledger=work.ledger, tenant=opened.tenant)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            for name in _KEPT:
                (value,) = database.execute(f"PRAGMA main.{name}").fetchone()
                copy.execute(f"PRAGMA {name} = {value}").fetchall()
            copy.execute(sets[0]).fetchall()
            copy.execute(CREATE_MARKER)
            copy.executemany(PUT_ROW, database.execute(READ_MARKER).fetchall())
            commit(database)
            copy.backup(database, progress=_require_lock)
        return str(mode)

    try:
        mode = await opened.run(write, doing=f"set the encoding of {opened.path}")
    finally:
        # A connection is bound to the encoding that it has read first.
        await opened.reconnect()
    if mode == "wal":
        await opened.run(
            lambda database: or_busy(database, "PRAGMA main.journal_mode = WAL"),
            doing="restore the journal mode",
        )


def _require_lock(status: int, _remaining: int, _total: int) -> None:
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise BusyError


def require_effect(
    database: sqlite3.Connection, section: Section, *, tenant: str, migration: str
) -> None:
    """Raises StepFailedError for a setting that the database has not and would not take."""
    for number, step in enumerate(section.steps):
        if not _sets(step) or not lacks(database, step.sql):
            continue
        following = section.steps[number + 1 :]
        if not section.transaction and _by_vacuum(
            database, step, section.steps[:number], following
        ):
            continue
        pragma = read_pragma(step.sql)
        name = pragma.name if pragma is not None else ""
        (live,) = database.execute(f"PRAGMA main.{name}").fetchone()
        raise StepFailedError(
            f"step {step.number}: PRAGMA {name} can have no effect: the database has been written to,"
            f" and its {name} is {live}",
            step=step.number,
            hint="Write -- migrate:up transaction:false, and VACUUM after it (outside WAL mode)."
            if name in _BY_VACUUM
            else "Leave it out for this tenant, or copy its content into a new file.",
            tenant=tenant,
            migration=migration,
            file=step.file,
            line=step.line,
        )


def lacks(database: sqlite3.Connection, sql: str) -> bool:
    """Whether the statement sets what the database has otherwise, and SQLite would ignore it."""
    pragma, wanted = read_pragma(sql), value_set(sql)
    if pragma is None or wanted is None or pragma.name == "foreign_keys":
        return False
    (live,) = database.execute(f"PRAGMA main.{pragma.name}").fetchone()
    switched = pragma.name == "auto_vacuum" and live in _INCREMENTAL and wanted in _INCREMENTAL
    return bool(live != wanted) and not switched


def _sets(step: Step) -> bool:
    pragma = read_pragma(step.sql)
    return pragma is not None and pragma.name != "foreign_keys" and value_set(step.sql) is not None


def _meant(section: Section) -> list[Step]:
    """The steps that set what only an empty database takes."""
    steps = section.steps if section.transaction else _leading(section.steps)
    return [step for step in steps if _sets(step)]


def _leading(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if first_words(step.sql)[0] != "PRAGMA":
            return
        yield step


def _by_vacuum(
    database: sqlite3.Connection, step: Step, earlier: Sequence[Step], following: Sequence[Step]
) -> bool:
    pragma = read_pragma(step.sql)
    if pragma is None or pragma.name not in _BY_VACUUM:
        return False
    before: list[Step] = list(earlier)
    for other in following:
        if first_words(other.sql) == ("VACUUM", "") or first_words(other.sql) == ("VACUUM", "MAIN"):
            (mode,) = database.execute("PRAGMA main.journal_mode").fetchone()
            changed = any(_names(step, "journal_mode") for step in before)
            return pragma.name != "page_size" or mode != "wal" or changed
        before.append(other)
    return False


def _names(step: Step, name: str) -> bool:
    pragma = read_pragma(step.sql)
    return pragma is not None and pragma.sets and pragma.name == name


def _is_empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0 and not os.path.exists(f"{path}-wal")  # noqa: PTH116, PTH110
    except OSError:
        return False
