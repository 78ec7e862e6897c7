"""One throw-away tenant, with a ledger of its own, for a test.

Invariant: every method leaves no connection open; a migration that fails
raises, with the product's own message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import anyio

from ledger.api import Ledger
from ledger.config import Config
from ledger.engines.throwaway import Throwaway
from ledger.fleet.report import RunReport
from ledger.schema import Column, Index, Schema, Table
from ledger.testing.walk import Walked, read_schema, walk

T = TypeVar("T")


class Tenant:
    """A tenant that nothing has been applied to yet. Made by the fixtures.

    The methods are plain calls and work in `async def` tests, too. `ledger` is
    for whatever they do not cover: `Ledger.open(tenant.config)`.
    """

    def __init__(self, place: Throwaway, config: Config, folder: Path) -> None:
        self.engine = place.source.engine
        self.name = place.name
        self.config = config
        self.folder = folder
        self._place = place

    def migrate(self, to: str | None = None) -> RunReport:
        """Apply what is pending, up to `to` (VERSION or SET/VERSION). Raises AssertionError if it fails."""
        return self._good(self._call(lambda ledger: ledger.migrate(self.name, to=to)))

    def rollback(self, to: str | None = None) -> RunReport:
        """Undo the last migration, or all after `to` (`0`: all), by their down steps. Raises AssertionError."""
        return self._good(self._call(lambda ledger: ledger.rollback(self.name, to=to, by="script")))

    def migrated_to(self, version: str) -> Tenant:
        """Bring the tenant to `version`, forward or back (`0`: nothing applied), and return it.

        Raises AssertionError with the run's message.
        """
        applied = self.applied()
        if version == "0" or any(
            version in (migration, migration.partition("/")[2]) for migration in applied
        ):
            if applied:
                self.rollback(to=version)
        else:
            self.migrate(to=version)
        return self

    def applied(self) -> tuple[str, ...]:
        """SET/VERSION of what is applied, in the order of applying."""

        async def read(ledger: Ledger) -> tuple[str, ...]:
            status = await ledger.status(self.name)
            return tuple(
                f"{row.set}/{version}" for row in status.tenants for version in row.applied
            )

        return self._call(read)

    def schema(self) -> Schema:
        """The tenant's tables, indexes, views … as they are now."""
        return in_thread(lambda: read_schema(self.config))

    def walk(self, *, require_down: bool = False) -> Walked:
        """Take every pending migration up, down and up again, and compare the schemas.

        A migration without a down section only goes up, and is named in the
        result; with `require_down` it fails. Raises AssertionError that names
        the migration and each object that differs.
        """
        return in_thread(lambda: walk(self.config, self.name, require_down=require_down))

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """One statement past the ledger, committed: test data, say."""
        self._place.query(sql, parameters)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement past the ledger. Parameters as the driver writes them: ? or %s."""
        return self._place.query(sql, parameters)

    def assert_table(self, name: str, *, exists: bool = True) -> Table | None:
        """There is such a table (or there is none), which is returned."""
        tables = {table.name.lower(): table for table in self.schema().tables}
        found = tables.get(name.lower())
        if exists and found is None:
            raise AssertionError(f"{self.name} has no table {name}; it has {_names(tables)}")
        if not exists and found is not None:
            raise AssertionError(f"{self.name} has a table {name}")
        return found

    def assert_column(
        self,
        table: str,
        name: str,
        *,
        type: str | None = None,  # noqa: A002 - the word of SQL
        nullable: bool | None = None,
        exists: bool = True,
    ) -> Column | None:
        """The table has such a column, of this type (capitals do not count), nullable or not."""
        columns = {column.name.lower(): column for column in self._table(table).columns}
        found = columns.get(name.lower())
        if exists and found is None:
            raise AssertionError(f"{table} has no column {name}; it has {_names(columns)}")
        if not exists and found is not None:
            raise AssertionError(f"{table} has a column {name}")
        if found is not None:
            if type is not None and found.type.lower() != type.lower():
                raise AssertionError(f"{table}.{name} is {found.type}, not {type}")
            if nullable is not None and found.nullable != nullable:
                raise AssertionError(f"{table}.{name} is nullable: {found.nullable}")
        return found

    def assert_index(
        self,
        table: str,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        unique: bool | None = None,
        exists: bool = True,
    ) -> Index | None:
        """The table has such an index, over these columns in this order, unique or not."""
        indexes = {index.name.lower(): index for index in self._table(table).indexes}
        found = indexes.get(name.lower())
        if exists and found is None:
            raise AssertionError(f"{table} has no index {name}; it has {_names(indexes)}")
        if not exists and found is not None:
            raise AssertionError(f"{table} has an index {name}")
        if found is not None:
            if columns is not None and tuple(columns) != found.columns:
                raise AssertionError(f"{name} is over {found.columns}, not {tuple(columns)}")
            if unique is not None and found.unique != unique:
                raise AssertionError(f"{name} is unique: {found.unique}")
        return found

    def _table(self, name: str) -> Table:
        table = self.assert_table(name)
        if table is None:
            raise AssertionError(f"{self.name} has no table {name}")
        return table

    def _call(self, work: Callable[[Ledger], Awaitable[T]]) -> T:
        async def call() -> T:
            async with Ledger.open(self.config, actor="test") as ledger:
                return await work(ledger)

        return in_thread(call)

    def _good(self, report: RunReport) -> RunReport:
        if not report.success:
            raise AssertionError("\n".join(f"{name}: {why}" for name, why in report.errors.items()))
        return report


def _names(found: dict[str, Any]) -> str:
    return ", ".join(sorted(found)) or "none"


def in_thread(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in a thread of its own, so that a running event loop is not in the way."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, work).result()
