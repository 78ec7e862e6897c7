"""Maintenance of a SQLite tenant; see ledger.engines.maintain.

Invariant: rows are deleted with the foreign keys' actions off, so that nothing goes
that was not named; what refers to a row keeps it from being archived.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from ledger import failpoints
from ledger.engines.maintain import (
    Archivable,
    Old,
    Orphans,
    Reference,
    column_named,
    no_table,
    require_key,
)
from ledger.engines.rowtext import to_line, values_of
from ledger.engines.sqlite.inside import database_bytes
from ledger.engines.sqlite.maintain.sql import (
    COLUMNS,
    CONDITIONS,
    IS_OLD,
    NO_TIME,
    key_of,
    named,
    own_tables,
    references,
    times,
    without_rowid,
)
from ledger.engines.sqlite.marker import admit, read_marker
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.schema.ddl import quoted
from ledger.engines.sqlite.steps import or_busy
from ledger.engines.work import Marker
from ledger.errors import TenantError

T = TypeVar("T")

SPARE_BYTES: Final = 1 << 20
EXTERNAL_CONTENT: Final = """
SELECT name FROM main.sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%content%=%'
"""


class SqliteMaintenance:
    """See ledger.engines.maintain.Maintenance."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @property
    def _tenant(self) -> str:
        return self._opened.tenant

    async def optimize(
        self, *, epoch: int, ledger: str, deadline_seconds: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """ANALYZE, VACUUM and PRAGMA optimize; in WAL mode the log is written back, before and after."""
        opened = self._opened

        def work(database: sqlite3.Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
            tables = own_tables(database)
            admit(
                read_marker(database, tenant=self._tenant),
                epoch=epoch,
                ledger=ledger,
                tenant=self._tenant,
            )
            notes: tuple[str, ...] = ()
            checkpoint(database)
            external = database.execute(EXTERNAL_CONTENT).fetchall()
            if not external:
                _require_room(opened.path, database, tenant=self._tenant)
            or_busy(database, "ANALYZE")
            if external:
                # VACUUM may number rows anew, and such a table refers to another's by number.
                notes = (f"VACUUM was left out: {external[0][0]} refers to rows by number",)
            else:
                or_busy(database, "VACUUM")
            or_busy(database, "PRAGMA optimize")
            checkpoint(database)
            return tables, notes

        try:
            return await opened.run(work, doing="optimize", timeout_seconds=deadline_seconds)
        except TimeoutError as error:
            raise TenantError(
                f"optimising took longer than {deadline_seconds:g} s; the rows are as they were",
                hint="Raise timeouts.statement_seconds, or run it when less goes on.",
                tenant=self._tenant,
            ) from error

    async def references(self) -> tuple[Reference, ...]:
        return await self._opened.read(references, doing="read the foreign keys")

    async def orphans(self, reference: Reference, *, samples: int) -> Orphans:
        def count(database: sqlite3.Connection) -> Orphans:
            where = CONDITIONS.orphaned(reference)
            table = named(reference.table)
            (number,) = database.execute(
                f"SELECT count(*) FROM {table} AS c WHERE {where}"  # noqa: S608
            ).fetchone()
            names = tuple(dict.fromkeys((*key_of(database, reference.table), *reference.columns)))
            chosen = CONDITIONS.columns(names, of="c")
            with _any_text(database):
                rows = database.execute(
                    f"SELECT {chosen} FROM {table} AS c WHERE {where} LIMIT ?",  # noqa: S608
                    (samples,),
                ).fetchall()
            shown = tuple(to_line(names, row).decode() for row in rows)
            return Orphans(reference=reference, count=number, samples=shown)

        return await self._opened.read(count, doing="look for orphans")

    async def mend(self, reference: Reference, *, limit: int, epoch: int, ledger: str) -> int:
        def write(database: sqlite3.Connection) -> int:
            key = key_of(database, reference.table) if without_rowid(database, reference) else ()
            names = CONDITIONS.columns(key) or "rowid"
            chosen = CONDITIONS.columns(key, of="c") or "c.rowid"
            table = named(reference.table)
            where = (
                f" WHERE ({names}) IN (SELECT {chosen} FROM {table} AS c"  # noqa: S608
                f" WHERE {CONDITIONS.orphaned(reference)} LIMIT {int(limit)})"
            )
            return database.execute(CONDITIONS.mends(reference) + where).rowcount

        return await self._writing(write, epoch=epoch, ledger=ledger, doing="mend orphans")

    async def archivable(self, table: str, column: str) -> Archivable:
        """See Maintenance.archivable. SQLite's columns hold any kind of value."""

        def read(database: sqlite3.Connection) -> Archivable:
            known = {own.lower(): own for own in own_tables(database)}
            name = known.get(table.replace("{prefix}", "").lower())
            if name is None:
                raise no_table(table, tenant=self._tenant)
            columns = tuple(row[0] for row in database.execute(COLUMNS, (name,)))
            key = key_of(database, name)
            found = column_named(columns, column, table=name, tenant=self._tenant)
            return Archivable(
                table=name,
                column=found,
                kind="any",
                columns=columns,
                key=require_key(key, table=name, tenant=self._tenant),
                referred=tuple(
                    reference
                    for reference in references(database)
                    if reference.parent.lower() == name.lower() and not reference.missing
                ),
            )

        return await self._opened.read(read, doing="read the table")

    async def old(self, what: Archivable, *, before: datetime) -> Old:
        def count(database: sqlite3.Connection) -> Old:
            column = f"t.{quoted(what.column)}"
            old, free = IS_OLD.format(c=column), CONDITIONS.unreferred(what)
            row = database.execute(
                f"SELECT coalesce(sum({old} AND {free}), 0), coalesce(sum({old} AND NOT {free}), 0),"  # noqa: S608
                f" coalesce(sum({NO_TIME.format(c=column)}), 0) FROM {named(what.table)} AS t",
                times(before),
            ).fetchone()
            return Old(rows=row[0], held=row[1], unreadable=row[2])

        return await self._opened.read(count, doing="count old rows")

    async def lines(
        self, what: Archivable, *, before: datetime, after: bytes | None, limit: int
    ) -> list[bytes]:
        def read(database: sqlite3.Connection) -> list[bytes]:
            key = CONDITIONS.columns(what.key, of="t")
            chosen = CONDITIONS.columns(what.columns, of="t")
            where = (
                f"{IS_OLD.format(c=f't.{quoted(what.column)}')} AND {CONDITIONS.unreferred(what)}"
            )
            where += "".join(f" AND t.{quoted(column)} IS NOT NULL" for column in what.key)
            values = times(before) | {"limit": limit}
            if after is not None:
                last = values_of(after, what.key)
                places = [f":k{number}" for number in range(len(last))]
                where += f" AND ({key}) > ({', '.join(places)})"
                values |= {f"k{number}": value for number, value in enumerate(last)}
            with _any_text(database):
                rows = database.execute(
                    f"SELECT {chosen} FROM {named(what.table)} AS t"  # noqa: S608
                    f" WHERE {where} ORDER BY {key} LIMIT :limit",
                    values,
                ).fetchall()
            return [to_line(what.columns, row) for row in rows]

        return await self._opened.read(read, doing="read old rows")

    async def remove(
        self, what: Archivable, lines: Sequence[bytes], *, epoch: int, ledger: str
    ) -> tuple[int, int]:
        table = named(what.table)
        same = " AND ".join(f"t.{quoted(column)} IS ?" for column in what.key)
        chosen = CONDITIONS.columns(what.columns, of="t")
        read = f"SELECT {CONDITIONS.unreferred(what)}, {chosen} FROM {table} AS t WHERE {same}"  # noqa: S608
        drop = f"DELETE FROM {table} AS t WHERE {same}"  # noqa: S608

        def write(database: sqlite3.Connection) -> tuple[int, int]:
            removed = kept = 0
            with _any_text(database):
                for line in lines:
                    key = values_of(line, what.key)
                    row = database.execute(read, key).fetchone()
                    if row is None:
                        continue
                    if not row[0] or to_line(what.columns, row[1:]) != line:
                        kept += 1
                        continue
                    removed += database.execute(drop, key).rowcount
            return removed, kept

        return await self._writing(write, epoch=epoch, ledger=ledger, doing="delete archived rows")

    async def _writing(
        self, function: Callable[[sqlite3.Connection], T], *, epoch: int, ledger: str, doing: str
    ) -> T:
        """One transaction under the fence."""

        def write(database: sqlite3.Connection, found: Marker) -> T:
            admit(found, epoch=epoch, ledger=ledger, tenant=self._tenant)
            result = function(database)
            failpoints.reach("engine.in_transaction")
            return result

        return await self._opened.write(write, doing=doing, deletes=True)


def checkpoint(database: sqlite3.Connection) -> None:
    """Write the -wal file back; nothing to do in other journal modes."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _require_room(path: str, database: sqlite3.Connection, *, tenant: str) -> None:
    """VACUUM writes a copy of the database, and the old pages into the journal."""
    size = database_bytes(database)
    folder = Path(path).resolve().parent
    temporary = Path(os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir())
    for place, needed in ((folder, 2 * size), (temporary, size)):
        free = shutil.disk_usage(place).free
        if free < needed + SPARE_BYTES:
            raise TenantError(
                f"VACUUM may need {needed} bytes, and {place} has {free} free; nothing was changed",
                hint="Free space there, then run the command again.",
                tenant=tenant,
            )


@contextmanager
def _any_text(database: sqlite3.Connection) -> Iterator[None]:
    """Text that is not UTF-8 comes through as it is."""
    before = database.text_factory
    database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        database.text_factory = before
