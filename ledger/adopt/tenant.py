"""Taking over a tenant from another migration tool: read its history, count the same as applied.

Invariant: the other tool's tables are read and never written.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Target
from ledger.engines.foreign import ForeignTable
from ledger.errors import (
    LedgerError,
    TenantError,
    UnreachableError,
    for_tenant,
)
from ledger.events import Mark, MigrationRef
from ledger.plan import Catalogue
from ledger.requests import PlanImport
from ledger.runner.context import RunContext
from ledger.runner.outcome import Outcome, Result
from ledger.runner.tenant import count_as_applied, outcome_of
from ledger.scripts.foreign import SOURCES, Mapped, map_history


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
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, asked: PlanImport
) -> Importing:
    """Read the tool's history and map it; touches nothing."""
    plan = Importing(tenant=target.name, engine=target.engine)
    try:
        mapped, source, notes = await _read(engine, target, catalogue, asked)
    except LedgerError as error:
        return msgspec.structs.replace(
            plan, problem=error.message, hint=for_tenant(error.hint, target.name)
        )
    have = {ref.key for ref in ctx.state(target.name).applied}
    known = [migration.id for migration in mapped.migrations if migration.ref.key in have]
    return msgspec.structs.replace(
        plan,
        source=source,
        migrations=tuple(
            migration.id for migration in mapped.migrations if migration.id not in known
        ),
        known=tuple(known),
        notes=notes,
    )


async def import_tenant(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, asked: PlanImport
) -> Outcome:
    """Count what the tool calls applied as applied; the tenant's marker says so too."""

    async def act() -> Outcome:
        mapped, source, notes = await _read(engine, target, catalogue, asked)
        bound = [ctx.bound(migration, target.variables) for migration in mapped.migrations]

        def event(refs: tuple[MigrationRef, ...], mark: Mark) -> ev.Imported:
            return ev.Imported(migrations=refs, source=source, mark=mark)

        new = await count_as_applied(ctx, engine, target, catalogue, bound, event)
        result: Result = "imported" if new else "current"
        return Outcome(tenant=target.name, result=result, migrations=new, warnings=notes)

    return await outcome_of(ctx, target, act)


async def _read(
    engine: Engine, target: Target, catalogue: Catalogue, asked: PlanImport
) -> tuple[Mapped, str, tuple[str, ...]]:
    """The migrations that the history means, where it was read, and notes. Raises TenantError."""
    source = SOURCES[asked.source]
    elsewhere = asked.registry or source.registry
    own = source.table if elsewhere else target.prefix + source.table
    table = _table(engine, target, asked, asked.table or own)
    rows = await _rows(engine, target, table, source.columns, source.order, without=source.without)
    if rows is None:
        raise TenantError(
            f"there is no table {table.shown}: {asked.source} has not run here",
            tenant=target.name,
            hint="Name the table with --table, or its database with --registry, if it is elsewhere.",
        )
    if source.lock is not None:
        await _require_free(engine, target, asked, source.lock)
    history = source.read(rows)
    migrations = [
        migration for migration in catalogue.order if asked.set_name in (None, migration.ref.set)
    ]
    mapped = map_history(history, migrations, scope=asked.scope)
    if mapped.problem:
        raise TenantError(mapped.problem, tenant=target.name, hint=mapped.hint)
    return mapped, f"{asked.source}: {table.shown}", history.notes


def _table(engine: Engine, target: Target, asked: PlanImport, name: str) -> ForeignTable:
    usual = SOURCES[asked.source].registry
    return engine.foreign_table(target, name, registry=asked.registry, usual=usual)


async def _rows(
    engine: Engine,
    target: Target,
    table: ForeignTable,
    columns: Sequence[str],
    order: str = "",
    *,
    without: str = "",
) -> list[tuple[object, ...]] | None:
    """The table's rows, or None if there is no such table. Raises UnreachableError.

    Raises TenantError for a table that lacks one of these columns, or has the one that it is to be `without`:
    tools share names of tables, and one's rows mean something else to the other.
    """
    if not table.reachable:
        return None
    try:
        found = [
            str(row[0]).lower()
            async for row in engine.query(table.url, target.secret, table.columns)
        ]
        if not found:
            return None
        lacks = [column for column in (*columns, order) if column and column.lower() not in found]
        if lacks or (without and without.lower() in found):
            what = f"has no column {lacks[0]}" if lacks else f"has a column {without}"
            raise TenantError(
                f"the table {table.shown} {what}: another tool made it",
                tenant=target.name,
                hint="Find out which tool made it, and name that one with --from.",
            )
        sql = table.rows(columns, order)
        return [row async for row in engine.query(table.url, target.secret, sql)]
    except UnreachableError as error:
        error.tenant = target.name
        raise


async def _require_free(
    engine: Engine, target: Target, asked: PlanImport, lock: tuple[str, str]
) -> None:
    """Raises TenantError while the other tool holds its lock."""
    name, column = lock
    rows = await _rows(engine, target, _table(engine, target, asked, name), (column,))
    if any(row[0] not in (0, None, "0", "f", b"\0") for row in rows or ()):
        raise TenantError(
            f"{asked.source} holds its lock ({name}): it is at work, or was killed",
            tenant=target.name,
            hint=f"Wait for it to end, or let {asked.source} release the lock.",
        )
