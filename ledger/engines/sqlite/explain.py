"""EXPLAIN QUERY PLAN as lines that compare: https://www.sqlite.org/eqp.html says its form is not stable
between versions, so that only plans of one run are compared."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ledger.engines.measured import Plan
from ledger.engines.sqlite.steps import read_only
from ledger.engines.sqlite.trouble import described


def explain(database: sqlite3.Connection, queries: Sequence[str]) -> tuple[Plan, ...]:
    """In a read transaction: every query's plan; the query itself is not run."""
    with read_only(database):
        return tuple(_one(database, sql) for sql in queries)


def _one(database: sqlite3.Connection, sql: str) -> Plan:
    try:
        rows = database.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        return Plan(error=described(error))
    depth: dict[int, int] = {0: -1}
    lines = []
    for number, parent, _unused, detail in rows:
        depth[number] = depth.get(parent, -1) + 1
        lines.append("  " * depth[number] + str(detail))
    return Plan(lines=tuple(lines))
