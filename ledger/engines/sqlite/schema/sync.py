"""A wished schema made in memory, and the statements that bring a tenant up to it.

Invariant: the tenant is only read; a statement is the wish's own, or ALTER TABLE … ADD
COLUMN with the column's definition as it was written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import msgspec

from ledger.dialects.sqlite.dialect import SQLITE
from ledger.drivers.application import Application, equip
from ledger.engines.sqlite.schema.ddl import column_definitions, quoted
from ledger.engines.sqlite.schema.introspect import READ_DEFINITIONS, SchemaCache
from ledger.engines.sqlite.trouble import REFUSALS, step_failed
from ledger.engines.work import SyncPlan
from ledger.events import Change
from ledger.schema import Schema
from ledger.scripts.model import Step, sha256_hex
from ledger.sync import Addition, as_drift, gap

_FORBIDDEN: Final = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})


class Wish(msgspec.Struct, frozen=True, kw_only=True):
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
) -> Wish:
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
    return Wish(steps=tuple(steps), schema=schema, columns=columns)


def _authorize(action: int, *_: object) -> int:
    """Nothing but memory is opened: ATTACH, and VACUUM INTO by way of it, are refused."""
    return sqlite3.SQLITE_DENY if action in _FORBIDDEN else sqlite3.SQLITE_OK


def plan(wish: Wish, live: Schema, *, after: int) -> SyncPlan:
    """The statements that the live schema lacks, numbered from `after` + 1, and what they cannot settle."""
    found = gap(wish.schema, live, SQLITE, fold_tables=True)
    missing = {one.table.lower() for one in found.additions if one.kind == "table"}
    statements = [
        (f"Sync: {step.name}", step.sql, step) for step in wish.steps if _table_of(step) in missing
    ]
    statements += [
        _statement(wish, one) for one in found.additions if one.kind in ("column", "index")
    ]
    return SyncPlan(
        steps=tuple(
            msgspec.structs.replace(step, number=number, name=name, sql=sql, sha256=sha256_hex(sql))
            for number, (name, sql, step) in enumerate(statements, after + 1)
        ),
        drift=found.drift,
    )


def left(wish: Wish, live: Schema) -> tuple[Change, ...]:
    """In what the live schema is still not as wished."""
    return as_drift(gap(wish.schema, live, SQLITE, fold_tables=True))


def _statement(wish: Wish, one: Addition) -> tuple[str, str, Step]:
    """Name and text of a statement, and the step of the wish that it is from."""
    table = one.desired.lower()
    if one.kind == "index":
        step = next(step for step in wish.steps if _index_of(step) == one.name.lower())
        return f"Sync: {step.name}", step.sql, step
    step = next(step for step in wish.steps if _table_of(step) == table)
    text = wish.columns[table, one.name.lower()]
    return (
        f"Sync: add column {one.table}.{one.name}",
        f"ALTER TABLE {quoted(one.table)} ADD COLUMN {text}",
        step,
    )


def _table_of(step: Step) -> str:
    """The table that a statement of a wish is about, in small letters."""
    kind = SQLITE.classify(step.sql)
    return (kind.touched[0] if kind.touched else kind.target).lower()


def _index_of(step: Step) -> str:
    kind = SQLITE.classify(step.sql)
    return kind.target.lower() if kind.makes("index") else ""
