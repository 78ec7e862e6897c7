"""A desired schema made in a scratch database, and the statements that bring a tenant up to it.

The scratch database stands on the same server, has one name per tenant, is locked by
it, and is dropped before and after; where the account may not make it, temporary tables
stand in for it. Invariant: a statement is the section's own CREATE TABLE, or an ALTER TABLE
with one line of what SHOW CREATE TABLE says; no other text of ours is in it but quoted names.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.steps import Step
from ledger.dialects.wording import label
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.doctor.grants import SCRATCH_DATABASES
from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import catalog, temporary
from ledger.engines.mysql.schema.introspect import SchemaReader
from ledger.engines.mysql.schema.model import Desired
from ledger.engines.mysql.schema.objects import Names
from ledger.engines.mysql.schema.table_text import column_and_key_lines
from ledger.engines.mysql.scratch import database as scratch
from ledger.engines.mysql.trouble import NO_PRIVILEGE, step_failed
from ledger.errors import ScriptError, StepFailedError, TenantError
from ledger.events import Change
from ledger.schema import ForeignKey, Schema, Table
from ledger.sync.gap import Addition, Gap, as_drift, gap
from ledger.sync.steps import Statement, SyncPlan, missing_tables, numbered, table_of

SETTINGS: Final = """
SELECT @@sql_mode, @@character_set_database, @@collation_database, @@lower_case_table_names
"""
_NO_EFFECT: Final = frozenset({"dml", "query", "transaction"})


class ScratchDeniedError(TenantError):
    """The account may not make a scratch database."""


async def make(opened: Opened, steps: Sequence[Step], *, migration: str = "") -> Desired:
    """The desired schema; made once for all tenants whose statements and settings are the same.

    Raises StepFailedError for a statement that the server refuses, and for a table
    that would not be the tenant's own; ScratchDeniedError without the privilege.
    """
    settings = (await opened.connection.fetch(SETTINGS))[0]
    parts = [opened.connection.server.text, opened.url.server, opened.names.prefix]
    parts += [str(setting) for setting in settings] + [step.sha256 for step in steps]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    known = opened.shared.desired.find(key)
    if known is None:
        known = await _make(opened, steps, fold_tables=bool(int(settings[3])), migration=migration)
        opened.shared.desired.keep(key, known)
    return msgspec.structs.replace(known, steps=tuple(steps))


async def _make(
    opened: Opened, steps: Sequence[Step], *, fold_tables: bool, migration: str
) -> Desired:
    async with _scratch(opened) as (other, names):
        for step in steps:
            try:
                await other.execute(opened.without_database(step.sql), seconds=scratch.SECONDS)
            except QueryError as error:
                raise step_failed(error, step, target=opened.target, migration=migration) from error
        # What is there was just made, for this tenant.
        target = msgspec.structs.replace(opened.target, owns_all=True)
        reader = SchemaReader(target, names, opened.table.name, opened.shared)
        listing = await reader.listing(other)
        _require_own(opened, steps, migration=migration)
        schema = await catalog.read(other, listing, names)
        lines = {}
        for table in listing.tables:
            for kind, name, line in await _lines(other, table):
                lines[names.neutral(table), kind, names.neutral(name).lower()] = line
    return Desired(steps=tuple(steps), schema=schema, lines=lines, fold_tables=fold_tables)


@asynccontextmanager
async def _scratch(opened: Opened) -> AsyncIterator[tuple[MysqlConnection, Names]]:
    """An empty database with the tenant's defaults and the session's sql_mode."""
    (mode,) = (await opened.connection.fetch("SELECT @@sql_mode"))[0]
    name = "ledger_scratch_w" + lock_name(opened.names.database, opened.names.prefix)[7:30]
    try:
        async with scratch.database(opened, name, locked=True) as other:
            await other.execute(f"SET sql_mode = {_literal(str(mode))}")
            yield other, Names(database=name, prefix=opened.names.prefix)
    except QueryError as error:
        if error.code not in NO_PRIVILEGE:
            raise
        raise ScratchDeniedError(
            f"a scratch database is needed beside the tenant, and cannot be made: {error}",
            hint=f"Let an administrator GRANT ALL ON {SCRATCH_DATABASES} TO this account.",
            tenant=opened.tenant,
        ) from error


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _require_own(opened: Opened, steps: Iterable[Step], *, migration: str) -> None:
    """Raises StepFailedError for a table that the tenant's prefix does not begin.

    One that a later statement renames or drops is the tenant's all the same.
    """
    prefix = opened.names.prefix.lower()
    for step in steps:
        kind = MYSQL.classify(step.readable)
        if kind.makes("table") and not kind.target.lower().startswith(prefix):
            raise StepFailedError(
                f"the table {kind.target} would not be this tenant's: its prefix is"
                f" {opened.names.prefix!r}",
                step=step.number,
                hint="Write {prefix} before the table's name.",
                tenant=opened.tenant,
                migration=migration,
                file=step.file,
                line=step.line,
            )


async def _lines(connection: MysqlConnection, table: str) -> list[tuple[str, str, str]]:
    """Kind, name and text of each column and key that SHOW CREATE TABLE lists."""
    rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(table)}")
    return column_and_key_lines(str(rows[0][1]))


async def _statements(opened: Opened, desired: Desired, found: Gap) -> list[Statement]:
    """The statements that the gap's additions are."""
    prefix = opened.names.prefix
    tables = (
        _real(addition.table, prefix) for addition in found.additions if addition.kind == "table"
    )
    statements = missing_tables(desired.steps, tables, MYSQL)
    for addition in found.additions:
        if addition.kind != "table":
            text = await _clause(opened, desired, addition)
            if text:
                step = _step_for(desired, _real(addition.desired, prefix))
                statements.append(Statement(*_statement(addition, text, prefix), step))
    return statements


async def lacking(
    opened: Opened,
    steps: Sequence[Step],
    *,
    after: int,
    resumed: bool = False,
    migration: str = "",
) -> SyncPlan:
    """What the tenant lacks of the desired schema, numbered from `after` + 1.

    Where the account may not make a scratch database, tables that are there are compared with
    temporary ones. `resumed`: statements of this section have run, so that a table that cannot be
    temporary was made by it. Raises as `make` does; ScratchDeniedError for a table that cannot be compared.
    """
    try:
        desired = await make(opened, steps, migration=migration)
    except ScratchDeniedError as denied:
        _require_own(opened, steps, migration=migration)
        desired, live, rest = await _temporary(opened, steps, None if resumed else denied)
    else:
        live, rest = (await opened.reader.state(opened.connection)).schema, []
    found = gap(desired.schema, live, MYSQL, fold_tables=desired.fold_tables)
    statements = await _statements(opened, desired, found)
    statements += [Statement(f"Sync: {step.name}", step.sql, step) for step in rest]
    return numbered(statements, found.drift, MYSQL, after=after)


async def left(
    opened: Opened, steps: Sequence[Step], live: Schema, *, migration: str
) -> tuple[Change, ...]:
    """In what the live schema is still not as desired, after all that it lacked was added.

    Without a scratch database, of the tables that can be temporary: this section has made the others.
    """
    try:
        desired = await make(opened, steps, migration=migration)
    except ScratchDeniedError:
        desired, live, _ = await _temporary(opened, steps, None)
    return as_drift(gap(desired.schema, live, MYSQL, fold_tables=desired.fold_tables))


async def _temporary(
    opened: Opened, steps: Sequence[Step], denied: ScratchDeniedError | None
) -> tuple[Desired, Schema, list[Step]]:
    """What the steps make of tables that are there, seen in temporary ones; and those tables.

    A table that is absent has a name only. A table that cannot be temporary is an error with
    `denied`; without, it is left out, and the CREATE INDEX that it lacks are the third value.
    """
    names = opened.names
    listing = await opened.reader.listing(opened.connection, programs=False)
    fold = bool(int((await opened.connection.fetch(SETTINGS))[0][3]))
    there = {name.lower() if fold else name: name for name in listing.tables}
    absent: list[Table] = []
    made: dict[str, str] = {}
    live: dict[str, str] = {}
    keys: list[tuple[ForeignKey, ...]] = []
    rest: list[Step] = []
    async with temporary.session(opened) as other:
        for step in steps:
            kind = MYSQL.classify(step.readable)
            if not kind.makes("table"):
                continue
            real = there.get(kind.target.lower() if fold else kind.target)
            if real is None:
                absent.append(Table(name=names.neutral(kind.target), columns=()))
                continue
            own = [one for one in steps if table_of(one, MYSQL) == kind.target.lower()]
            try:
                table = await temporary.make(other, real, own)
            except (temporary.ImpossibleError, QueryError) as error:
                if denied is not None:
                    raise _refused(opened, denied, kind.target, error) from error
                rest += await _indexes_to_make(opened, real, own)
            else:
                made[table.name], live[real] = kind.target, real
                keys.append(table.foreign_keys)
        schema, lines = await temporary.read(other, made, names)
        found, _ = await temporary.read(other, live, names)
    tables = [
        temporary.with_foreign_keys(*each, names)
        for each in zip(schema.tables, keys, found.tables, strict=True)
    ]
    desired = Desired(
        steps=tuple(steps),
        schema=Schema(tables=(*absent, *tables)),
        lines=lines,
        fold_tables=fold,
    )
    return desired, found, rest


async def _indexes_to_make(opened: Opened, table: str, steps: Sequence[Step]) -> list[Step]:
    """The CREATE INDEX among the table's steps whose index is not there."""
    there = {
        name.lower() for kind, name, _ in await _lines(opened.connection, table) if kind == "index"
    }
    return [
        step
        for step in steps
        if (kind := MYSQL.classify(step.readable)).makes("index")
        and kind.target.lower() not in there
    ]


def _refused(
    opened: Opened, denied: ScratchDeniedError, table: str, error: Exception
) -> ScratchDeniedError:
    """Names the table that cannot be compared, and each right that would help."""
    hint = denied.hint
    if isinstance(error, QueryError) and error.code in NO_PRIVILEGE:
        database = quote_identifier(opened.names.database)
        hint += (
            f" Or let them GRANT CREATE TEMPORARY TABLES ON {database}.*, which most tables need."
        )
    return ScratchDeniedError(
        f"{denied.message}; and the table {table} cannot be compared with a temporary one: {error}",
        hint=hint,
        tenant=opened.tenant,
    )


def _statement(one: Addition, text: str, prefix: str) -> tuple[str, str]:
    table = _real(one.table, prefix)
    word = {"column": "add column", "type": "widen column", "index": "add index"}[one.kind]
    return (
        f"Sync: {word} {table}.{_real(one.name, prefix)}",
        f"ALTER TABLE {quote_identifier(table)} {text}",
    )


async def _clause(opened: Opened, desired: Desired, one: Addition) -> str:
    """What stands behind ALTER TABLE …; nothing if the server's own texts do not give it."""
    if one.kind == "column":
        return f"ADD COLUMN {desired.lines[one.desired, 'column', one.name.lower()]}"
    if one.kind == "index":
        return f"ADD {desired.lines[one.desired, 'index', one.name.lower()]}"
    # The column as it is, with the wider type alone in the place of its own: what else the
    # section says of it may be narrower, and is reported as drift.
    table = _real(one.table, opened.names.prefix)
    for kind, name, line in await _lines(opened.connection, table):
        before = f"{quote_identifier(name)} {one.live_type}"
        if kind == "column" and name.lower() == one.name.lower():
            same = line[: len(before)].lower() == before.lower()
            rest = line[len(before) :]
            if same and (not rest or rest.startswith(" ")):
                return f"MODIFY COLUMN {quote_identifier(name)} {one.desired_type}{rest}"
    return ""


def _step_for(desired: Desired, table: str) -> Step:
    """The section's CREATE TABLE of that table."""
    return next(step for step in desired.steps if table_of(step, MYSQL) == table.lower())


def _real(name: str, prefix: str) -> str:
    return name.replace("{prefix}", prefix)


def schema_steps(steps: Sequence[Step]) -> Iterator[Step]:
    """The statements of a schema file that make something; rows do not count.

    Raises ScriptError for one that could reach beyond the scratch database.
    """
    for step in steps:
        kind = MYSQL.classify(step.readable)
        if kind.kind in _NO_EFFECT or kind.verb in ("LOCK", "UNLOCK"):
            continue
        local = kind.verb == "SET" and kind.kind == "session"
        if kind.kind == "ddl" and kind.object not in ("database", "schema"):
            local = not any("." in name for name in (kind.target, *kind.touched))
        if not local:
            raise ScriptError(
                f"{label(kind)} could reach beyond a scratch database",
                file=step.file,
                line=step.line,
                hint="Keep to CREATE, ALTER and DROP without a database's name in a schema file.",
            )
        yield step
