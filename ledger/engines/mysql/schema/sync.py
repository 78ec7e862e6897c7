"""A desired schema made in a scratch database, and the statements that bring a tenant up to it.

The scratch database stands on the same server, has one name per tenant, is locked by
it, and is dropped before and after. Invariant: a statement is the section's own CREATE
TABLE, or an ALTER TABLE with one line of what SHOW CREATE TABLE says; no other text of
ours is in it but quoted names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.wording import label
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.doctor.grants import SCRATCH_DATABASES
from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import catalog
from ledger.engines.mysql.schema.introspect import SchemaReader
from ledger.engines.mysql.schema.model import Desired
from ledger.engines.mysql.schema.objects import Names
from ledger.engines.mysql.scratch import database as scratch
from ledger.engines.mysql.trouble import NO_PRIVILEGE, step_failed
from ledger.engines.sync import Statement, missing_tables, numbered, table_of
from ledger.engines.work import SyncPlan
from ledger.errors import ScriptError, StepFailedError, TenantError
from ledger.events import Change
from ledger.schema import Schema
from ledger.scripts.model import Step
from ledger.sync import Addition, as_drift, gap

SETTINGS: Final = """
SELECT @@sql_mode, @@character_set_database, @@collation_database, @@lower_case_table_names
"""
_LINE: Final = re.compile(
    r"\s*(?:(?P<primary>PRIMARY KEY)|(?:\w+ )?KEY (?P<key>`(?:[^`]|``)*`)|(?P<column>`(?:[^`]|``)*`)) .*"
)
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
    found = []
    for line in str(rows[0][1]).split("\n")[1:]:
        if line.startswith(")"):
            break
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        text = line.strip().removesuffix(",")
        if match["column"]:
            found.append(("column", _unquoted(match["column"]), text))
        else:
            name = "PRIMARY" if match["primary"] else _unquoted(match["key"])
            found.append(("index", name, text))
    return found


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")


async def plan(opened: Opened, desired: Desired, live: Schema, *, after: int) -> SyncPlan:
    """The statements that the live schema lacks, numbered from `after` + 1, and what they leave different."""
    found = gap(desired.schema, live, MYSQL, fold_tables=desired.fold_tables)
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
    return numbered(statements, found.drift, after=after)


async def lacking(
    opened: Opened,
    steps: Sequence[Step],
    *,
    after: int,
    own: Sequence[Step] = (),
    migration: str = "",
) -> SyncPlan:
    """What the tenant lacks of the desired schema, numbered from `after` + 1.

    Where the account may not make a scratch database, a section of which the tenant has nothing
    but what its `own` steps have made is run as it stands. Raises as `make` does.
    """
    try:
        desired = await make(opened, steps, migration=migration)
    except ScratchDeniedError:
        found = await _as_it_stands(opened, steps, after=after, own=own, migration=migration)
        if found is None:
            raise
        return found
    live = (await opened.reader.state(opened.connection)).schema
    return await plan(opened, desired, live, after=after)


async def _as_it_stands(
    opened: Opened,
    steps: Sequence[Step],
    *,
    after: int,
    own: Sequence[Step],
    migration: str,
) -> SyncPlan | None:
    """The section's statements but `own`; None if a table of it is there that none of `own` has made: it
    would have to be compared.
    """
    listing = await opened.reader.listing(opened.connection, programs=False)
    there = {name.lower() for name in listing.all_names}
    made = {table_of(step, MYSQL) for step in own}
    tables = [step for step in steps if MYSQL.classify(step.readable).makes("table")]
    if any(table_of(table, MYSQL) in there - made for table in tables):
        return None
    _require_own(opened, steps, migration=migration)
    done = {step.sha256 for step in own}
    wanted = [step for step in steps if step.sha256 not in done]
    return SyncPlan(
        steps=tuple(
            msgspec.structs.replace(step, number=number, name=f"Sync: {step.name}")
            for number, step in enumerate(wanted, after + 1)
        )
    )


def left(desired: Desired, live: Schema) -> tuple[Change, ...]:
    """In what the live schema is still not as desired."""
    return as_drift(gap(desired.schema, live, MYSQL, fold_tables=desired.fold_tables))


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
