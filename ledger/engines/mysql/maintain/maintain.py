"""Maintenance of a MySQL or MariaDB tenant; see ledger.engines.maintain.

Invariant: only the tenant's own tables are changed, each batch in one transaction
that holds the marker's fence; rows are deleted with foreign keys' actions off, so
that nothing goes that was not named.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import anyio

from ledger import failpoints
from ledger.drivers.mysql import Row
from ledger.drivers.mysql import quote_identifier as quoted
from ledger.engines.entries import require_epoch
from ledger.engines.maintain import (
    Archivable,
    Old,
    Orphans,
    Reference,
    column_named,
    no_table,
    require_key,
)
from ledger.engines.mysql.lock.marker import require_ledger
from ledger.engines.mysql.maintain.sql import (
    COLUMNS,
    CONDITIONS,
    DATES,
    DECLARED_HERE,
    FOREIGN_KEYS,
    KEY,
    NUMBERS,
    REFERRING_HERE,
    TABLE_IS_THERE,
    is_old,
    named,
    place,
    places,
)
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.claims import declaration
from ledger.engines.mysql.trouble import translated
from ledger.engines.rowtext import to_line, values_of
from ledger.errors import TenantError

ROLLBACK_SECONDS: Final = 5.0
SCAN_SECONDS: Final = 3600.0
"""How long one statement may take that reads a whole table, or changes a batch of rows."""

# Times in UTC; and no action of a foreign key beyond what is asked for.
SETTINGS: Final = "SET SESSION time_zone = '+00:00', foreign_key_checks = 0"


class MysqlMaintenance:
    """See ledger.engines.maintain.Maintenance."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @property
    def _tenant(self) -> str:
        return self._opened.tenant

    async def optimize(
        self, *, epoch: int, ledger: str, deadline_seconds: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """OPTIMIZE TABLE and ANALYZE TABLE, one table after the other."""
        opened = self._opened
        with translated(opened.target, "optimize"):
            await self._require_ours(ledger, epoch=epoch)
            tables = (await opened.reader.listing(opened.connection)).tables
            notes: list[str] = []
            for table in tables:
                # No lock outlives such a statement: the fence is asked for before each table.
                await self._require_ours(ledger, epoch=epoch)
                for verb in ("OPTIMIZE", "ANALYZE"):
                    rows = await opened.connection.fetch(
                        f"{verb} TABLE {quoted(table)}", seconds=deadline_seconds
                    )
                    notes += _notes(rows, table, verb, tenant=self._tenant)
                failpoints.reach("engine.after_statement")
        return tables, tuple(notes)

    async def references(self) -> tuple[Reference, ...]:
        opened = self._opened
        with translated(opened.target, "read the foreign keys"):
            own = (await opened.reader.listing(opened.connection)).tables
            found = await self._references(DECLARED_HERE)
        return tuple(reference for reference in found if reference.table in own)

    async def _references(self, condition: str, *values: str) -> list[Reference]:
        """Names of other databases are before a dot in `table` and `parent`, by `place`."""
        here = self._opened.names.database
        sql = FOREIGN_KEYS.format(condition=condition)
        keys: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
        for row in await self._opened.connection.fetch(sql, values or None):
            keys.setdefault((row[0], row[1], row[2]), []).append(row)
        found = []
        for (schema, table, name), rows in keys.items():
            there, parent = rows[0][4], rows[0][5]
            known = await self._opened.connection.fetch(TABLE_IS_THERE, (there, parent))
            found.append(
                Reference(
                    name=name,
                    table=place(schema, table, here),
                    columns=tuple(row[3] for row in rows),
                    parent=place(there, parent, here),
                    parent_columns=tuple(row[6] for row in rows),
                    on_delete=str(rows[0][7]).upper(),
                    missing="" if known else f"its parent {there}.{parent} is not there",
                )
            )
        return found

    async def _key(self, table: str) -> tuple[str, ...]:
        rows = await self._opened.connection.fetch(KEY, (table,))
        return tuple(str(row[0]) for row in rows)

    async def orphans(self, reference: Reference, *, samples: int) -> Orphans:
        opened = self._opened
        with translated(opened.target, "look for orphans"):
            source = f"FROM {named(reference.table)} AS c WHERE {CONDITIONS.orphaned(reference)}"
            ((number,),) = await self._scan(f"SELECT COUNT(*) {source}")
            key = await self._key(reference.table)
            names = tuple(dict.fromkeys((*key, *reference.columns)))
            chosen = CONDITIONS.columns(names, of="c")
            rows = await self._scan(f"SELECT {chosen} {source} LIMIT {int(samples)}")
        shown = tuple(to_line(names, row).decode() for row in rows)
        return Orphans(reference=reference, count=int(number), samples=shown)

    async def mend(self, reference: Reference, *, limit: int, epoch: int, ledger: str) -> int:
        """See Maintenance.mend. Only the missing parents' places are locked, not the tables."""
        connection = self._opened.connection
        child, parent = named(reference.table), named(reference.parent)
        columns = CONDITIONS.columns(reference.columns, of="c")
        others = CONDITIONS.columns(reference.parent_columns, of="p")
        async with self._transaction(epoch=epoch, ledger=ledger, doing="mend orphans"):
            wanted = await self._scan(
                f"SELECT DISTINCT {columns} FROM {child} AS c"  # noqa: S608
                f" WHERE {CONDITIONS.orphaned(reference)} LIMIT {int(limit)}"
            )
            if not wanted:
                return 0
            # A parent that came meanwhile is seen here, and none can come before the COMMIT.
            came = await self._scan(
                f"SELECT COUNT(*) FROM {parent} AS p WHERE ({others}) IN ({places(wanted)})"  # noqa: S608
                " LOCK IN SHARE MODE",
                [value for row in wanted for value in row],
            )
            if came[0][0]:
                wanted = await self._still_orphaned(reference, wanted)
            if not wanted:
                return 0
            names = CONDITIONS.columns(reference.columns)
            return await connection.execute(
                f"{CONDITIONS.mends(reference)} WHERE ({names}) IN ({places(wanted)}) LIMIT {int(limit)}",
                [value for row in wanted for value in row],
                seconds=SCAN_SECONDS,
            )

    async def _still_orphaned(
        self, reference: Reference, wanted: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        parent = named(reference.parent)
        same = " AND ".join(f"p.{quoted(column)} = %s" for column in reference.parent_columns)
        sql = f"SELECT 1 FROM {parent} AS p WHERE {same} LIMIT 1 LOCK IN SHARE MODE"  # noqa: S608
        fetch = self._opened.connection.fetch
        return [row for row in wanted if not await fetch(sql, row)]

    async def archivable(self, table: str, column: str) -> Archivable:
        opened = self._opened
        prefix = opened.names.prefix
        with translated(opened.target, "read the table"):
            listing = await opened.reader.listing(opened.connection, programs=False)
            names = (table.replace("{prefix}", prefix), prefix + table)
            name = next((candidate for candidate in names if candidate in listing.tables), None)
            unclear = next(
                (candidate for _, candidate in listing.unclear if candidate in names), None
            )
            if name is None and unclear is not None:
                raise TenantError(
                    f"it is not known whether {unclear} is this tenant's, of prefix {prefix}: no"
                    " migration and no configuration says so",
                    hint=declaration(opened.target, unclear),
                    tenant=self._tenant,
                )
            if name is None:
                raise no_table(table, tenant=self._tenant)
            rows = await opened.connection.fetch(COLUMNS, (name,))
            kinds = {str(row[0]): str(row[1]).lower() for row in rows}
            column = column_named(kinds, column, table=name, tenant=self._tenant)
            key = require_key(await self._key(name), table=name, tenant=self._tenant)
            kind = kinds[column]
            if kind not in DATES | NUMBERS:
                raise TenantError(
                    f"column {name}.{column} is {kind}, which holds no time",
                    hint="Name a DATE, DATETIME, TIMESTAMP or whole-number column.",
                    tenant=self._tenant,
                )
            return Archivable(
                table=name,
                column=column,
                kind="date" if kind in DATES else "number",
                columns=tuple(kinds),
                key=key,
                referred=tuple(await self._references(REFERRING_HERE, name)),
            )

    async def old(self, what: Archivable, *, before: datetime) -> Old:
        condition, values = is_old(what, before)
        free = CONDITIONS.unreferred(what)
        with translated(self._opened.target, "count old rows"):
            await self._set_up()
            rows = await self._scan(
                f"SELECT COALESCE(SUM({free}), 0), COALESCE(SUM(NOT {free}), 0)"  # noqa: S608
                f" FROM {named(what.table)} AS t WHERE {condition}",
                values,
            )
        return Old(rows=int(rows[0][0]), held=int(rows[0][1]))

    async def lines(
        self, what: Archivable, *, before: datetime, after: bytes | None, limit: int
    ) -> list[bytes]:
        condition, values = is_old(what, before)
        key = CONDITIONS.columns(what.key, of="t")
        chosen = CONDITIONS.columns(what.columns, of="t")
        if after is not None:
            last = values_of(after, what.key)
            condition += f" AND ({key}) > {places([last])}"
            values += list(last)
        with translated(self._opened.target, "read old rows"):
            await self._set_up()
            rows = await self._scan(
                f"SELECT {chosen} FROM {named(what.table)} AS t"  # noqa: S608
                f" WHERE {condition} AND {CONDITIONS.unreferred(what)} ORDER BY {key} LIMIT {int(limit)}",
                values,
            )
        return [to_line(what.columns, row) for row in rows]

    async def remove(
        self, what: Archivable, lines: Sequence[bytes], *, epoch: int, ledger: str
    ) -> tuple[int, int]:
        connection = self._opened.connection
        keys = [values_of(line, what.key) for line in lines]
        key = CONDITIONS.columns(what.key, of="t")
        chosen = CONDITIONS.columns(what.columns, of="t")
        async with self._transaction(epoch=epoch, ledger=ledger, doing="delete archived rows"):
            rows = await self._scan(
                f"SELECT {chosen} FROM {named(what.table)} AS t"  # noqa: S608
                f" WHERE ({key}) IN ({places(keys)}) FOR UPDATE",
                [value for row in keys for value in row],
            )
            wanted, written = [], set(lines)
            for row in rows:
                if to_line(what.columns, row) in written:
                    wanted.append(dict(zip(what.columns, row, strict=True)))
            # The rows are locked, so that no new row can come to refer to them.
            for reference in what.referred:
                wanted = await self._unreferred_now(reference, wanted)
            removed = 0
            if wanted:
                names = CONDITIONS.columns(what.key)
                chosen_keys = [tuple(row[column] for column in what.key) for row in wanted]
                removed = await connection.execute(
                    f"DELETE FROM {named(what.table)}"  # noqa: S608
                    f" WHERE ({names}) IN ({places(chosen_keys)})",
                    [value for row in chosen_keys for value in row],
                    seconds=SCAN_SECONDS,
                )
        return removed, len(rows) - removed

    async def _unreferred_now(
        self, reference: Reference, wanted: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Those of `wanted` to which no row refers, as committed up to now."""
        if not wanted:
            return []
        fetch = self._opened.connection.fetch
        same = " AND ".join(f"c.{quoted(column)} = %s" for column in reference.columns)
        source = f"FROM {named(reference.table)} AS c"
        columns = CONDITIONS.columns(reference.columns, of="c")
        targets = [tuple(row[column] for column in reference.parent_columns) for row in wanted]
        any_of = f"SELECT 1 {source} WHERE ({columns}) IN ({places(targets)}) LIMIT 1"
        values = [value for row in targets for value in row]
        if not await fetch(any_of + " LOCK IN SHARE MODE", values):
            return wanted
        # Which of them, the database says itself: its collations decide what is equal.
        one_of = f"SELECT 1 {source} WHERE {same} LIMIT 1 LOCK IN SHARE MODE"
        return [
            row
            for row, target in zip(wanted, targets, strict=True)
            if not await fetch(one_of, target)
        ]

    async def _scan(self, sql: str, values: Sequence[object] | None = None) -> list[Row]:
        return await self._opened.connection.fetch(sql, values, seconds=SCAN_SECONDS)

    async def _set_up(self) -> None:
        await self._opened.connection.execute(SETTINGS)
        self._opened.soil()

    async def _require_ours(self, ledger: str, *, epoch: int) -> None:
        found = await self._opened.table.read(self._opened.connection)
        require_ledger(found, ledger=ledger, tenant=self._tenant)
        require_epoch(found.epoch, epoch, tenant=self._tenant)

    @asynccontextmanager
    async def _transaction(self, *, epoch: int, ledger: str, doing: str) -> AsyncIterator[None]:
        """One transaction under the fence; rolled back, and the server waited for, if it fails."""
        opened = self._opened
        with translated(opened.target, doing):
            await self._require_ours(ledger, epoch=epoch)
            await self._set_up()
            await opened.connection.begin()
            try:
                await opened.table.lock_fence(opened.connection, epoch=epoch)
                yield
                failpoints.reach("engine.in_transaction")
                await opened.connection.commit()
            except BaseException:
                with anyio.move_on_after(ROLLBACK_SECONDS, shield=True):
                    await opened.connection.rollback()
                raise
            failpoints.reach("engine.after_commit")


def _notes(rows: Sequence[tuple[Any, ...]], table: str, verb: str, *, tenant: str) -> list[str]:
    """What such a statement answered besides OK; its errors come as rows. Raises TenantError."""
    notes = []
    for row in rows:
        kind, text = str(row[2]).lower(), str(row[3])
        if kind == "error":
            raise TenantError(
                f"{verb} TABLE {table}: {text}",
                hint="Correct what the server names, then run the command again.",
                tenant=tenant,
            )
        if kind == "warning":
            notes.append(f"{verb} TABLE {table}: {text}")
    return notes
