"""Lint rules of SQLite, some of them asked of SQLite itself on a database in memory."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Final

from ledger.dialects.base import Equip
from ledger.dialects.findings import Finding, finding_at
from ledger.dialects.kinds import StatementKind
from ledger.dialects.sqlite.pragmas import switches_foreign_keys
from ledger.dialects.sqlite.syntax import SYNTAX
from ledger.dialects.statements import classify
from ledger.dialects.steps import Section, Step


def findings(
    up: Section,
    down: Section | None,
    sync: Sequence[Step],
    *,
    bound: bool,
    equip: Equip | None = None,
) -> Iterator[Finding]:
    """What the rules find in a migration's sections."""
    yield from rebuild_with_foreign_keys(up)
    yield from _impossible_sync(sync, equip)
    if bound:
        for step in (*up.steps, *sync, *(down.steps if down else ())):
            if refusal := _syntax_error(step.sql):
                yield finding_at(step, "syntax", "error", f"SQLite's parser refuses it: {refusal}")


def rebuild_with_foreign_keys(up: Section) -> Iterator[Finding]:
    """Dropping a table with foreign keys on deletes every row that refers to it by CASCADE."""
    rebuilt = rebuilt_tables(up.steps)
    enforced = up.foreign_keys
    begun = False
    for step in up.steps:
        kind = classify(step.sql, SYNTAX)
        if kind.transaction in ("begin", "commit", "rollback"):
            begun = kind.transaction == "begin"
        switched = switches_foreign_keys(step.sql)  # Left among the steps by transaction:false.
        enforced = enforced if begun or switched is None else switched
        if enforced is False:
            continue
        if _drops_table(kind) and kind.target.lower() in rebuilt:
            yield finding_at(
                step,
                "rebuild-foreign-keys",
                "error" if enforced else "warning",
                f"table {kind.target} is rebuilt with foreign keys "
                + ("on" if enforced else "on, where `session` turns them on")
                + ": the DROP deletes the rows that refer to it",
                "Write `PRAGMA foreign_keys = OFF;` as the first statement of the file.",
            )


def rebuilt_tables(steps: Iterable[Step]) -> frozenset[str]:
    """Tables that are dropped and come back by a rename among the same steps, in lower case."""
    dropped: set[str] = set()
    back: set[str] = set()
    for step in steps:
        kind = classify(step.sql, SYNTAX)
        if _drops_table(kind):
            dropped.add(kind.target.lower())
        elif kind.verb == "ALTER" and kind.object == "table":
            back |= {name.lower() for name in kind.touched if name.lower() in dropped}
    return frozenset(back)


def _drops_table(kind: StatementKind) -> bool:
    return kind.verb == "DROP" and kind.object == "table"


def _impossible_sync(sync: Sequence[Step], equip: Equip | None) -> Iterator[Finding]:
    """A section sync is made in an empty database, here as in a run."""
    if not sync:
        return
    with closing(sqlite3.connect(":memory:")) as database:
        if equip is not None:
            equip(database)
        for step in sync:
            try:
                database.execute(step.sql)
            except sqlite3.Error as error:
                if not _syntax_error(step.sql):
                    yield finding_at(
                        step,
                        "sync",
                        "error",
                        f"it cannot be made in an empty database: {error}",
                        "A section sync is a whole schema: what it refers to must be in it, and once.",
                    )


_SYNTAX_ERROR: Final = re.compile(
    r"near \".*\": syntax error|incomplete input|unrecognized token: \".*\"", re.DOTALL
)
"""All that its parser itself can say; SQLite has one code for these and for a missing table."""


def _syntax_error(sql: str) -> str:
    """What SQLite's own parser says; empty for a missing table and the like."""
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.execute(f"EXPLAIN {sql}")
        except sqlite3.Error as error:
            said = str(error)
            return said if _SYNTAX_ERROR.fullmatch(said) else ""
    return ""
