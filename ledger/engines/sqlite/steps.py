"""One step, one guard, one check, on an open sqlite3 connection.

Invariant: no statement of a migration can end the transaction that it runs in;
guards and checks cannot write.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, NamedTuple

from ledger import failpoints
from ledger.dialects.given import Given, given
from ledger.dialects.patterns import repeated
from ledger.dialects.sqlite.dialect import SQLITE
from ledger.dialects.sqlite.syntax import COMMENT, SYNTAX
from ledger.dialects.steps import Check, SkipIf, Step
from ledger.engines.batch import Stop
from ledger.engines.checks import is_true
from ledger.engines.measured import COUNT, COUNTED_MAX
from ledger.engines.sqlite.schema.ddl import quoted
from ledger.engines.sqlite.trouble import REFUSALS, BusyError, StoppedError, described, is_busy
from ledger.engines.work import StepResult
from ledger.events import CheckResult, Part
from ledger.scripts.effects import Guarded, guarded

_FIRST_WORDS: Final = re.compile(
    repeated(rf"[\s;\ufeff]+|--[^\n]*+|{COMMENT}")
    + r"(?P<first>[A-Za-z]+)(?P<rest>(?:\s+[A-Za-z]+){0,2})"
)

OF_CONNECTION: Final = frozenset(("PRAGMA", "ATTACH", "DETACH"))
"""What a later statement may need, and a new connection has lost."""

_HEAD_CHARACTERS: Final = 300

OBJECT_EXISTS: Final = "SELECT type FROM main.sqlite_master WHERE name = ? COLLATE NOCASE"
TABLE_EXISTS: Final = """
SELECT 1 FROM main.sqlite_master WHERE type = ? AND name = ? COLLATE NOCASE
"""
COLUMN_EXISTS: Final = "SELECT 1 FROM pragma_table_xinfo(?) WHERE name = ? COLLATE NOCASE"
RELOAD_SCHEMA: Final = "PRAGMA writable_schema = RESET"
"""Reads sqlite_master again, also inside a transaction; ends `writable_schema = ON`.
https://www.sqlite.org/pragma.html#pragma_writable_schema"""


_ADDS: Final = re.compile(
    r"\s*(?:CREATE\s+(?:(?:UNIQUE\s+)?INDEX|TABLE|VIEW|TRIGGER)\b"
    r"|ALTER\s+TABLE\s+\w+\s+ADD\b(?!.*\bREFERENCES\b))",
    re.IGNORECASE | re.DOTALL,
)


@lru_cache(maxsize=2048)
def only_adds(sql: str) -> bool:
    """Whether the statement changes no row that is there, and gives none a foreign key.

    A row that had a parent then has it still. False for what is not known for certain.
    """
    return _ADDS.match(sql) is not None


_TEMPORARY: Final = re.compile(r"\bTEMP", re.IGNORECASE)


@lru_cache(maxsize=2048)
def marks_connection(sql: str) -> bool:
    """Whether the statement may change what later ones on the connection mean or find.

    That is a PRAGMA, an attached database, or a temporary object.
    """
    word = first_words(sql)[0]
    if word == "CREATE":
        return _TEMPORARY.search(sql[:_HEAD_CHARACTERS]) is not None
    return word in OF_CONNECTION


@lru_cache(maxsize=2048)
def writes_schema(sql: str) -> bool:
    """Whether the statement lets later ones write sqlite_master itself, which SQLite does not read again."""
    return SQLITE.classify(sql).writes_schema


@lru_cache(maxsize=2048)
def first_words(sql: str) -> tuple[str, str]:
    """The statement's first word and the one or two words after it, in capitals.

    Kept, since a fleet runs the same statements on every tenant.
    """
    match = _FIRST_WORDS.match(sql)
    if match is None:
        return "", ""
    return match["first"].upper(), " ".join(match["rest"].upper().split())


@lru_cache(maxsize=2048)
def controls_transaction(sql: str) -> bool:
    """Whether the statement would begin or end a transaction (savepoints do neither inside one)."""
    first, rest = first_words(sql)
    if first == "ROLLBACK":
        return "TO" not in rest.split()
    return first in ("BEGIN", "COMMIT", "END")


def begin_immediate(database: sqlite3.Connection) -> None:
    """BEGIN IMMEDIATE. Raises BusyError while another connection writes."""
    failpoints.reach("engine.before_begin")
    or_busy(database, "BEGIN IMMEDIATE")


@contextmanager
def snapshot(database: sqlite3.Connection) -> Iterator[None]:
    """A read transaction that has its snapshot. Raises BusyError while another connection commits."""
    database.execute("BEGIN")
    try:
        or_busy(database, "SELECT 1 FROM main.sqlite_master LIMIT 1")
        yield
    finally:
        roll_back(database)


def commit(database: sqlite3.Connection) -> None:
    """COMMIT. Raises BusyError, the transaction still open, while another connection reads."""
    or_busy(database, "COMMIT")


def roll_back(database: sqlite3.Connection) -> None:
    """ROLLBACK, if there is still something to roll back."""
    if database.in_transaction:
        database.execute("ROLLBACK")


def or_busy(database: sqlite3.Connection, sql: str) -> None:
    """Run a statement that takes a lock. Raises BusyError while another connection has it."""
    try:
        database.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if is_busy(error):
            raise BusyError from error
        raise


def execute(
    database: sqlite3.Connection, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()
) -> int | None:
    """Run one statement to its end and return the rows it changed, None where that has no meaning.

    Rows that it returns are stepped through and dropped. Raises what sqlite3 raises.
    """
    cursor = database.execute(sql, parameters)
    if cursor.description is not None:
        # RETURNING and a SELECT with effects do their work row by row; text that is not UTF-8
        # must not make them fail, since they are not read.
        database.text_factory = bytes
        try:
            deque(cursor, maxlen=0)
        finally:
            database.text_factory = str
    if cursor.rowcount >= 0:
        return cursor.rowcount
    if first_words(sql)[0] == "WITH":
        return int(database.execute("SELECT changes()").fetchone()[0])
    return None


def run_step(database: sqlite3.Connection, step: Step) -> StepResult:
    """One step, unless its guard says that nothing is to do. Raises what sqlite3 raises."""
    started = time.perf_counter_ns()
    reason = skip_reason(database, step.skip_if) if step.skip_if else ""
    name = "" if reason else may_find(step.sql)
    found = object_type(database, name) if name else ""
    already = () if reason else find_missing(database, step.sql)
    given = None if reason else find_given(step.sql)
    before = count_rows(database, given) if given else None
    rows = None if reason else execute(database, step.sql)
    return StepResult(
        number=step.number,
        name=step.name,
        statement=step.sha256,
        duration_us=(time.perf_counter_ns() - started) // 1000,
        rows=rows,
        skipped=reason,
        warnings=(f"{found} {name} already exists",) if found else (),
        existed=bool(found) if name else None,
        already=already,
        made=step.adds,
        rows_found=rows_found(database, given, before, rows) if given else None,
        up_step=step.skip_if.up_step if step.skip_if else None,
    )


def object_type(database: sqlite3.Connection, name: str) -> str:
    """`table`, `view`, `index` or `trigger`; empty if nothing of that name is there."""
    row = database.execute(OBJECT_EXISTS, (name,)).fetchone()
    return str(row[0]) if row else ""


@lru_cache(maxsize=2048)
def may_find(sql: str) -> str:
    """The name of what a CREATE … IF NOT EXISTS in the tenant itself may find there; else empty."""
    kind = SQLITE.classify(sql)
    database, _, name = kind.target.rpartition(".")
    return name if kind.may_find and database.lower() in ("", "main") else ""


def find_missing(database: sqlite3.Connection, sql: str) -> tuple[Part, ...]:
    """What a DROP … IF EXISTS is to drop and that is not there."""
    return tuple(
        part
        for one in _guarded(sql)
        if object_type(database, one.name) != one.sort
        for part in one.parts
    )


@lru_cache(maxsize=2048)
def _guarded(sql: str) -> tuple[Guarded, ...]:
    return guarded(SQLITE.classify(sql)) if first_words(sql)[0] == "DROP" else ()


class _Given(NamedTuple):
    table: str
    how: Given


@lru_cache(maxsize=256)
def find_given(sql: str) -> _Given | None:
    """An INSERT that does not fail where it meets a row; None for another statement."""
    if first_words(sql)[0] not in ("INSERT", "REPLACE", "WITH"):
        return None
    how = given(sql, SYNTAX)
    return _Given(SQLITE.classify(sql).target, how) if how is not None else None


def count_rows(database: sqlite3.Connection, one: _Given) -> int | None:
    """The rows of its table, where what SQLite says of the statement does not show what it found; None for too many."""
    if one.how.meets == "keeps":
        return None
    table = ".".join(quoted(part) for part in one.table.split(".", 1))
    try:
        (count,) = database.execute(COUNT.format(table=table)).fetchone()
    except REFUSALS:
        return None
    return int(count) if count <= COUNTED_MAX else None


def rows_found(
    database: sqlite3.Connection, one: _Given, before: int | None, changed: int | None
) -> int | None:
    """How many rows the statement found that it was to make, after it changed so many; None for none."""
    meets, rows = one.how
    given = changed if rows is None else rows
    made = changed
    if meets != "keeps":
        after = count_rows(database, one)
        made = None if before is None or after is None else after - before
    if given is None or made is None:
        return None
    return max(0, given - made) or None


def skip_reason(database: sqlite3.Connection, guard: SkipIf) -> str:
    """Why the step is to be skipped, or nothing. Raises what sqlite3 raises."""
    if guard.kind == "not_made":
        return guard.text
    if guard.kind == "sql":
        with read_only(database):
            return f"{guard.text or guard.subject} is true" * is_true(
                first_value(database, guard.subject)
            )
    if guard.kind == "column":
        row = database.execute(COLUMN_EXISTS, guard.parts).fetchone()
    else:
        row = database.execute(TABLE_EXISTS, (guard.kind, guard.parts[1])).fetchone()
    return f"{guard.kind} {guard.subject} exists" if row else ""


@contextmanager
def read_only(database: sqlite3.Connection) -> Iterator[None]:
    """Nothing inside can write, or end the transaction."""
    database.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        database.execute("PRAGMA query_only = OFF")


def first_value(database: sqlite3.Connection, sql: str) -> object:
    """The first column of the first row; None if there is no row. Raises sqlite3.Error."""
    if controls_transaction(sql):
        raise sqlite3.ProgrammingError("a guard or check may not begin or end a transaction")
    row = database.execute(sql).fetchone()
    return row[0] if row else None


def run_checks(
    database: sqlite3.Connection, checks: Sequence[Check], stop: Stop
) -> tuple[CheckResult, ...]:
    """All checks; one that cannot run has not passed, with SQLite's words as detail."""
    results = []
    with read_only(database):
        for check in checks:
            go_on(stop)
            try:
                value = first_value(database, check.sql)
            except REFUSALS as error:
                results.append(CheckResult(name=check.name, passed=False, detail=described(error)))
                continue
            passed = is_true(value)
            detail = "" if passed else f"returned {value!r}" if value is not None else "no value"
            results.append(CheckResult(name=check.name, passed=passed, detail=detail))
    return tuple(results)


def go_on(stop: Stop) -> None:
    """Raises StoppedError once the caller no longer waits."""
    if stop.is_set():
        raise StoppedError
