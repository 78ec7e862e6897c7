"""A desired schema made in memory, and the statements that bring a tenant up to it.

Invariant: the tenant is only read; a statement is the section's own, or ALTER TABLE … ADD
COLUMN with the column's definition as it was written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import msgspec

from ledger.dialects.sqlite.dialect import SQLITE
from ledger.dialects.steps import Step
from ledger.drivers.application import Application, equip
from ledger.engines.sqlite.schema.ddl import column_definitions, quoted
from ledger.engines.sqlite.schema.introspect import READ_DEFINITIONS, SchemaCache
from ledger.engines.sqlite.trouble import REFUSALS, step_failed
from ledger.events import Change
from ledger.schema import Schema
from ledger.sync.gap import Addition, as_drift, gap
from ledger.sync.steps import Statement, SyncPlan, missing_tables, numbered, table_of

_FORBIDDEN: Final = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps make of an empty database. `columns` are definitions as written, by table
    and column in small letters.
    """

    steps: tuple[Step, ...]
    schema: Schema
    columns: dict[tuple[str, str], str]


def make(
    steps: Sequence[Step],
    cache: SchemaCache,
    *,
    tenant: str,
    migration: str = "",
    application: Application | None,
) -> Desired:
    """Run the steps in a database in memory. Raises StepFailedError for one that SQLite refuses."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        if application is not None:
            equip(scratch, application)
        scratch.set_authorizer(_authorize)
        for step in steps:
            try:
                scratch.execute(step.sql).fetchall()
            except REFUSALS as error:
                raise step_failed(error, step, tenant=tenant, migration=migration) from error
        schema = cache.read(scratch)[1]
        texts = {
            name.lower(): sql
            for kind, name, _, sql in scratch.execute(READ_DEFINITIONS)
            if kind == "table"
        }
    columns = {}
    for table in schema.tables:
        found = column_definitions(texts[table.name.lower()])
        for column, text in zip(table.columns, found, strict=False):
            columns[table.name.lower(), column.name.lower()] = text
    return Desired(steps=tuple(steps), schema=schema, columns=columns)


def _authorize(action: int, *_: object) -> int:
    """Nothing but memory is opened: ATTACH, and VACUUM INTO by way of it, are refused."""
    return sqlite3.SQLITE_DENY if action in _FORBIDDEN else sqlite3.SQLITE_OK


def plan(desired: Desired, live: Schema, *, after: int) -> SyncPlan:
    """The statements that the live schema lacks, numbered from `after` + 1, and what they leave different."""
    found = gap(desired.schema, live, SQLITE, fold_tables=True)
    tables = (addition.table for addition in found.additions if addition.kind == "table")
    statements = missing_tables(desired.steps, tables, SQLITE)
    statements += [
        _statement(desired, addition)
        for addition in found.additions
        if addition.kind in ("column", "index")
    ]
    return numbered(statements, found.drift, SQLITE, after=after)


def left(desired: Desired, live: Schema) -> tuple[Change, ...]:
    """In what the live schema is still not as desired."""
    return as_drift(gap(desired.schema, live, SQLITE, fold_tables=True))


def _statement(desired: Desired, addition: Addition) -> Statement:
    """The statement that adds a column or an index."""
    table = addition.desired.lower()
    if addition.kind == "index":
        step = next(step for step in desired.steps if _index_of(step) == addition.name.lower())
        return Statement(f"Sync: {step.name}", step.sql, step)
    step = next(step for step in desired.steps if table_of(step, SQLITE) == table)
    text = desired.columns[table, addition.name.lower()]
    return Statement(
        f"Sync: add column {addition.table}.{addition.name}",
        f"ALTER TABLE {quoted(addition.table)} ADD COLUMN {text}",
        step,
    )


def _index_of(step: Step) -> str:
    kind = SQLITE.classify(step.sql)
    return kind.target.lower() if kind.makes("index") else ""
