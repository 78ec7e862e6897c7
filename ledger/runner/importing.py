"""Taking over a tenant from another migration tool: read its history, count the same as applied.

Invariant: the other tool's tables are read and never written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ledger import events as ev
from ledger.drivers.url import MysqlUrl, SqliteUrl
from ledger.engines.base import Engine, Target
from ledger.errors import (
    LedgerError,
    TenantError,
    UnreachableError,
    for_tenant,
)
from ledger.events import MigrationRef
from ledger.plan import Catalogue
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.held import claimed
from ledger.runner.migrate import refuse_forgetting
from ledger.runner.outcome import Outcome, failure
from ledger.scripts.foreign import SOURCES, Mapped, Source, map_history
from ledger.scripts.model import Migration

SQLITE_COLUMNS: Final = "SELECT name FROM pragma_table_info({table})"
MYSQL_COLUMNS: Final = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}
"""
ROWS: Final = "SELECT {columns} FROM {table}"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to import from. `table` and `registry` override where the tool keeps its history;
    `scope` is one app or project of the tool's, `set_name` the set on disk that it stands for."""

    tool: str
    table: str | None = None
    registry: str | None = None
    scope: str | None = None
    set_name: str | None = None


class Importing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an import would count as applied on one tenant; `known` counts so already."""

    tenant: str
    engine: str
    source: str = ""
    migrations: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""


async def plan_import_tenant(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, asked: Asked
) -> Importing:
    """Read the tool's history and map it; touches nothing."""
    plan = Importing(tenant=target.name, engine=target.engine)
    try:
        mapped, source, notes = await _read(engine, target, catalogue, asked)
    except LedgerError as error:
        return msgspec.structs.replace(
            plan, problem=error.message, hint=for_tenant(error.hint, target.name)
        )
    have = {(ref.set, ref.version) for ref in ctx.state(target.name).applied}
    known = [one.id for one in mapped.migrations if (one.ref.set, one.ref.version) in have]
    return msgspec.structs.replace(
        plan,
        source=source,
        migrations=tuple(one.id for one in mapped.migrations if one.id not in known),
        known=tuple(known),
        notes=notes,
    )


async def import_tenant(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, asked: Asked
) -> Outcome:
    """Count what the tool calls applied as applied; the tenant's marker says so too."""
    began = time.perf_counter_ns()
    try:
        mapped, source, notes = await _read(engine, target, catalogue, asked)
        bound = [ctx.bound(one, target.variables) for one in mapped.migrations]
        while True:
            have = {(ref.set, ref.version) for ref in ctx.state(target.name).applied}
            new = [one for one in bound if (one.ref.set, one.ref.version) not in have]
            if not new:
                break
            try:
                await _adopt(ctx, engine, target, catalogue, new, source)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failure(target.name, error, duration_us=_since(began))
    applied = ctx.state(target.name).applied
    return Outcome(
        tenant=target.name,
        result="imported" if new else "current",
        migrations=tuple(one.id for one in new),
        version=applied[-1].version if applied else None,
        duration_us=_since(began),
        warnings=notes,
    )


async def _adopt(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    new: Sequence[Migration],
    source: str,
) -> None:
    contents = {sha: text for one in new for sha, text in one.contents.items()}
    async with (
        engine.open(target) as session,
        claimed(ctx, engine, target, session, contents=contents) as held,
    ):
        refs: list[MigrationRef] = [*ctx.state(target.name).applied, *(one.ref for one in new)]
        await refuse_forgetting(held, refs)
        mark = await session.adopt(refs, epoch=held.epoch, ledger=ctx.ledger_id)
        await held.end(
            ev.Imported(migrations=tuple(one.ref for one in new), source=source, mark=mark),
            news=await held.counted(engine, catalogue, mark, refs),
        )


async def _read(
    engine: Engine, target: Target, catalogue: Catalogue, asked: Asked
) -> tuple[Mapped, str, tuple[str, ...]]:
    """The migrations that the history means, where it was read, and notes. Raises TenantError."""
    source = SOURCES[asked.tool]
    place = _place(target, source, asked)
    without = (source.without,) if source.without else ()
    rows = await _rows(engine, target, place, source.columns, source.order, without=without)
    if rows is None:
        raise TenantError(
            f"there is no table {place.shown}: {asked.tool} has not run here",
            tenant=target.name,
            hint="Name the table with --table, or its database with --registry, if it is elsewhere.",
        )
    if source.lock is not None:
        await _require_free(engine, target, place, source.lock, asked.tool)
    history = source.read(rows)
    migrations = [one for one in catalogue.order if asked.set_name in (None, one.ref.set)]
    mapped = map_history(history, migrations, scope=asked.scope)
    if mapped.problem:
        raise TenantError(mapped.problem, tenant=target.name, hint=mapped.hint)
    return mapped, f"{asked.tool}: {place.shown}", history.notes


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """A table, in the database (or, for SQLite, in the file) that `url` names."""

    url: SqliteUrl | MysqlUrl
    table: str

    @property
    def shown(self) -> str:
        """For people: the table, with its database or file where that is not the tenant's own."""
        if isinstance(self.url, MysqlUrl):
            return f"{self.url.database}.{self.table}"
        return f"{self.table} in {Path(self.url.path).name}"


def _place(target: Target, source: Source, asked: Asked) -> _Place:
    registry = asked.registry or source.registry
    url = target.url
    if registry and isinstance(url, MysqlUrl):
        url = msgspec.structs.replace(url, database=registry)
    elif registry and isinstance(url, SqliteUrl):
        name = registry if asked.registry else f"{registry}.db"
        url = msgspec.structs.replace(url, path=str(Path(url.path).parent / name))
    prefix = target.prefix if not registry and asked.table is None else ""
    return _Place(url=url, table=asked.table or prefix + source.table)


async def _rows(
    engine: Engine,
    target: Target,
    place: _Place,
    columns: Sequence[str],
    order: str,
    *,
    without: Sequence[str] = (),
) -> list[tuple[object, ...]] | None:
    """The table's rows, or None if there is no such table. Raises UnreachableError.

    Raises TenantError for a table that has not these columns, or has one that it is to be `without`:
    tools share names of tables, and one's rows mean something else to the other.
    """
    url = place.url
    if isinstance(url, SqliteUrl):
        if not await anyio.Path(url.path).is_file():
            return None
        look: SqliteUrl | MysqlUrl = url
        there, where = SQLITE_COLUMNS, _name(place.table)
    else:
        # The query runs in the tenant's own database: the registry's may not be there.
        look, there = target.url, MYSQL_COLUMNS.replace("{schema}", _literal(url.database or ""))
        where = f"{_name(url.database or '')}.{_name(place.table)}"
    sql = ROWS.replace("{columns}", ", ".join(map(_name, columns))).replace("{table}", where)
    if order:
        sql += f" ORDER BY {_name(order)}"
    try:
        there = there.replace("{table}", _literal(place.table))
        found = [str(row[0]).lower() async for row in engine.query(look, target.secret, there)]
        if not found:
            return None
        _require_own(target, place, found, (*columns, *([order] if order else ())), without)
        return [row async for row in engine.query(look, target.secret, sql)]
    except UnreachableError as error:
        error.tenant = target.name
        raise


def _require_own(
    target: Target,
    place: _Place,
    found: Sequence[str],
    columns: Sequence[str],
    without: Sequence[str],
) -> None:
    """Raises TenantError unless the table with the columns `found` is the tool's own."""
    lacks = [one for one in columns if one.lower() not in found]
    has = [one for one in without if one.lower() in found]
    if lacks or has:
        what = f"has no column {lacks[0]}" if lacks else f"has a column {has[0]}"
        raise TenantError(
            f"the table {place.shown} {what}: another tool made it",
            tenant=target.name,
            hint="Look which tool it was, and name that one with --from.",
        )


def _name(text: str) -> str:
    """Quoted as both databases take it."""
    return "`" + text.replace("`", "``") + "`"


def _literal(text: str) -> str:
    """A string literal in both; a backslash, doubled, can only make a name unknown."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


async def _require_free(
    engine: Engine, target: Target, place: _Place, lock: tuple[str, str], tool: str
) -> None:
    """Raises TenantError while the other tool holds its lock."""
    table, column = lock
    beside = msgspec.structs.replace(place, table=table)
    rows = await _rows(engine, target, beside, (column,), "")
    if any(row[0] not in (0, None, "0", "f", b"\0") for row in rows or ()):
        raise TenantError(
            f"{tool} holds its lock ({table}): it is at work, or was killed",
            tenant=target.name,
            hint=f"Wait for it to end, or let {tool} release the lock.",
        )


def _since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000
