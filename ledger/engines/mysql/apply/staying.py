"""Rows that a failed statement leaves in tables without transactions (MyISAM, Aria).

Invariant: as long as nobody has said what became of them the step is in doubt, so that no later run writes
them a second time.
"""

from __future__ import annotations

import shlex
from typing import Final, NamedTuple

from ledger.dialects.given import given
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import Step
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.apply import sharing
from ledger.engines.mysql.opened import Opened
from ledger.errors import InDoubtError

COUNT: Final = "SELECT count(*) FROM {table}"
"""A table without transactions knows it."""

REFUSED: Final = frozenset(
    {1044, 1049, 1051, 1052, 1054, 1064, 1093, 1110, 1136, 1142, 1143, 1146, 1227, 1290, 1305}
)
"""A statement that the server refuses so has not begun: wrong by its text, or without a right."""


class Staying(NamedTuple):
    """What stays of a failed step: `rows` of `table`, where that is known, written by step `step`."""

    step: int
    table: str
    rows: int | None = None


async def count(opened: Opened, step: Step, kind: StatementKind) -> int | None:
    """The rows of the table to which an INSERT adds; None for another statement, and where it is no such table."""
    if kind.kind != "dml" or kind.verb not in ("INSERT", "LOAD"):
        return None
    how = given(step.readable, SYNTAX)
    if how is not None and how.meets != "keeps":
        return None
    engine = opened.storage.get(kind.target, "")
    if engine in ("", sharing.TRIGGERED, *sharing.TRANSACTIONAL):
        return None
    return await _count(opened.connection, kind.target)


async def after(
    opened: Opened, step: Step, kind: StatementKind, error: QueryError, before: int | None
) -> Staying | None:
    """What stays of a statement of rows that failed; None for nothing."""
    if kind.kind != "dml" or error.code in REFUSED:
        return None
    now = None if before is None else await _count(opened.connection, kind.target)
    if now is None or before is None:
        return Staying(step.number, kind.target)
    return Staying(step.number, kind.target, now - before) if now != before else None


async def _count(connection: MysqlConnection, name: str) -> int | None:
    table = ".".join(quote_identifier(part) for part in name.split(".", 1))
    try:
        return int((await connection.fetch(COUNT.format(table=table)))[0][0])
    except QueryError:
        return None


def in_doubt(found: Staying, step: Step, why: str, *, tenant: str, migration: str) -> InDoubtError:
    """The error for a step that failed, and left rows behind."""
    rows = "what was written" if found.rows is None else f"{found.rows} rows"
    where = f"{found.table}, a table" if found.table else "tables"
    return InDoubtError(
        f"step {step.number} ({step.name}): {why}; in {where} without transactions, {rows} may stay",
        step=found.step,
        evidence={"table": found.table or "(not known)", "rows": rows, "reason": why},
        hint=f"Delete them, type `ledger resolve {shlex.quote(tenant)} --not-applied`, mend what was refused, and run"
        f" the command again. Or type `ledger resolve {shlex.quote(tenant)} --restore`.",
        tenant=tenant,
        migration=migration,
        file=step.file,
        line=step.line,
    )
