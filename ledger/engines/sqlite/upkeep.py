"""Maintenance of a SQLite tenant; see ledger.engines.upkeep.

Invariant: rows are deleted with the foreign keys' actions off, so that nothing goes
that was not named; what refers to a row keeps it from being archived.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ledger import failpoints
from ledger.engines.base import MARKER_TABLE
from ledger.engines.rowtext import to_line, values_of
from ledger.engines.sqlite.marker import admit, read_marker
from ledger.engines.sqlite.steps import begin_immediate, begin_read, commit, or_busy, roll_back
from ledger.engines.upkeep import (
    MILLISECONDS_FROM,
    Archivable,
    Old,
    Orphans,
    Reference,
    no_column,
    no_key,
    no_table,
)
from ledger.errors import TenantError

if TYPE_CHECKING:
    from ledger.engines.sqlite.session import SqliteSession

T = TypeVar("T")

SPARE_BYTES: Final = 1 << 20
JULIAN_OF_1970: Final = 2440587.5
SECONDS_A_DAY: Final = 86400

OWN_TABLES: Final = """
SELECT name FROM main.sqlite_master
WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND sql NOT LIKE 'CREATE VIRTUAL%'
ORDER BY name
"""
EXTERNAL_CONTENT: Final = """
SELECT name FROM main.sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%content%=%'
"""
COLUMNS: Final = "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid"
FOREIGN_KEYS: Final = """
SELECT id, "table", "from", "to", on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq
"""
IS_OLD: Final = """(CASE typeof({c})
  WHEN 'text' THEN julianday({c}) < :days
  WHEN 'integer' THEN {c} < :seconds OR ({c} >= :from AND {c} < :millis)
  WHEN 'real' THEN CASE WHEN {c} BETWEEN 1721060 AND 5373484 THEN {c} < :days
    ELSE {c} < :seconds OR ({c} >= :from AND {c} < :millis) END
  ELSE 0 END)"""
"""Text as SQLite's own date functions read it; numbers as Unix seconds or milliseconds, or Julian days."""

NO_TIME: Final = "({c} IS NOT NULL AND typeof({c}) IN ('text', 'blob') AND julianday({c}) IS NULL)"


def quoted(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


class SqliteUpkeep:
    """See ledger.engines.upkeep.Upkeep."""

    def __init__(self, session: SqliteSession) -> None:
        self._session = session

    @property
    def _tenant(self) -> str:
        return self._session.tenant

    async def optimize(
        self, *, epoch: int, ledger: str, deadline_seconds: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """ANALYZE, VACUUM and PRAGMA optimize; in WAL mode the log is written back, before and after."""
        session, stop = self._session, threading.Event()

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
                _require_room(session.path, database, tenant=self._tenant)
            or_busy(database, "ANALYZE")
            if external:
                # VACUUM may number rows anew, and such a table refers to another's by number.
                notes = (f"VACUUM was left out: {external[0][0]} refers to rows by number",)
            else:
                or_busy(database, "VACUUM")
            or_busy(database, "PRAGMA optimize")
            checkpoint(database)
            return tables, notes

        return await session.run(
            work, doing="optimize", stop=stop, timeout_seconds=deadline_seconds
        )

    async def references(self) -> tuple[Reference, ...]:
        """See Upkeep.references."""
        return await self._reading(_references, doing="read the foreign keys")

    async def orphans(self, reference: Reference, *, samples: int) -> Orphans:
        """See Upkeep.orphans."""

        def count(database: sqlite3.Connection) -> Orphans:
            where = _orphaned(reference)
            table = quoted(reference.table)
            (number,) = database.execute(
                f"SELECT count(*) FROM main.{table} AS c WHERE {where}"  # noqa: S608
            ).fetchone()
            names = tuple(dict.fromkeys((*_key(database, reference.table), *reference.columns)))
            chosen = ", ".join(f"c.{quoted(name)}" for name in names)
            rows = database.execute(
                f"SELECT {chosen} FROM main.{table} AS c WHERE {where} LIMIT ?",  # noqa: S608
                (samples,),
            ).fetchall()
            shown = tuple(to_line(names, row).decode() for row in rows)
            return Orphans(reference=reference, count=number, samples=shown)

        return await self._reading(count, doing="look for orphans")

    async def mend(self, reference: Reference, *, limit: int, epoch: int, ledger: str) -> int:
        """See Upkeep.mend."""

        def write(database: sqlite3.Connection) -> int:
            key = _key(database, reference.table) if _without_rowid(database, reference) else ()
            names = ", ".join(quoted(one) for one in key) or "rowid"
            chosen = ", ".join(f"c.{quoted(one)}" for one in key) or "c.rowid"
            table = quoted(reference.table)
            where = (
                f" WHERE ({names}) IN (SELECT {chosen} FROM main.{table} AS c"  # noqa: S608
                f" WHERE {_orphaned(reference)} LIMIT {int(limit)})"
            )
            verb = f"DELETE FROM main.{table}"  # noqa: S608
            if reference.sets_null:
                empty = ", ".join(f"{quoted(one)} = NULL" for one in reference.columns)
                verb = f"UPDATE main.{table} SET {empty}"  # noqa: S608
            return database.execute(verb + where).rowcount

        return await self._writing(write, epoch=epoch, ledger=ledger, doing="mend orphans")

    async def archivable(self, table: str, column: str) -> Archivable:
        """See Upkeep.archivable. SQLite's columns hold any kind of value."""

        def read(database: sqlite3.Connection) -> Archivable:
            known = {one.lower(): one for one in own_tables(database)}
            name = known.get(table.replace("{prefix}", "").lower())
            if name is None:
                raise no_table(table, tenant=self._tenant)
            columns = tuple(row[0] for row in database.execute(COLUMNS, (name,)))
            found = [one for one in columns if one.lower() == column.lower()]
            if not found:
                raise no_column(name, column, tenant=self._tenant)
            key = _key(database, name)
            if not key:
                raise no_key(name, tenant=self._tenant)
            return Archivable(
                table=name,
                column=found[0],
                kind="any",
                columns=columns,
                key=key,
                referred=tuple(
                    one
                    for one in _references(database)
                    if one.parent.lower() == name.lower() and not one.missing
                ),
            )

        return await self._reading(read, doing="read the table")

    async def old(self, what: Archivable, *, before: datetime) -> Old:
        """See Upkeep.old."""

        def count(database: sqlite3.Connection) -> Old:
            column = f"t.{quoted(what.column)}"
            old, free = IS_OLD.format(c=column), _unreferred(what)
            row = database.execute(
                f"SELECT coalesce(sum({old} AND {free}), 0), coalesce(sum({old} AND NOT {free}), 0),"  # noqa: S608
                f" coalesce(sum({NO_TIME.format(c=column)}), 0) FROM main.{quoted(what.table)} AS t",
                _times(before),
            ).fetchone()
            return Old(rows=row[0], held=row[1], unreadable=row[2])

        return await self._reading(count, doing="count old rows")

    async def lines(
        self, what: Archivable, *, before: datetime, after: bytes | None, limit: int
    ) -> list[bytes]:
        """See Upkeep.lines."""

        def read(database: sqlite3.Connection) -> list[bytes]:
            key = ", ".join(f"t.{quoted(one)}" for one in what.key)
            chosen = ", ".join(f"t.{quoted(one)}" for one in what.columns)
            where = f"{IS_OLD.format(c=f't.{quoted(what.column)}')} AND {_unreferred(what)}"
            where += "".join(f" AND t.{quoted(one)} IS NOT NULL" for one in what.key)
            values = _times(before) | {"limit": limit}
            if after is not None:
                last = values_of(after, what.key)
                places = [f":k{number}" for number in range(len(last))]
                where += f" AND ({key}) > ({', '.join(places)})"
                values |= {f"k{number}": value for number, value in enumerate(last)}
            with _any_text(database):
                rows = database.execute(
                    f"SELECT {chosen} FROM main.{quoted(what.table)} AS t"  # noqa: S608
                    f" WHERE {where} ORDER BY {key} LIMIT :limit",
                    values,
                ).fetchall()
            return [to_line(what.columns, row) for row in rows]

        return await self._reading(read, doing="read old rows")

    async def remove(
        self, what: Archivable, lines: Sequence[bytes], *, epoch: int, ledger: str
    ) -> tuple[int, int]:
        """See Upkeep.remove."""
        table = quoted(what.table)
        same = " AND ".join(f"t.{quoted(one)} IS ?" for one in what.key)
        chosen = ", ".join(f"t.{quoted(one)}" for one in what.columns)
        look = f"SELECT {_unreferred(what)}, {chosen} FROM main.{table} AS t WHERE {same}"  # noqa: S608
        drop = f"DELETE FROM main.{table} AS t WHERE {same}"  # noqa: S608

        def write(database: sqlite3.Connection) -> tuple[int, int]:
            removed = kept = 0
            with _any_text(database):
                for line in lines:
                    key = values_of(line, what.key)
                    row = database.execute(look, key).fetchone()
                    if row is None:
                        continue
                    if not row[0] or to_line(what.columns, row[1:]) != line:
                        kept += 1
                        continue
                    removed += database.execute(drop, key).rowcount
            return removed, kept

        return await self._writing(write, epoch=epoch, ledger=ledger, doing="delete archived rows")

    async def _reading(self, function: Callable[[sqlite3.Connection], T], *, doing: str) -> T:
        stop = threading.Event()

        def read(database: sqlite3.Connection) -> T:
            begin_read(database)
            try:
                return function(database)
            finally:
                roll_back(database)

        return await self._session.run(read, doing=doing, stop=stop)

    async def _writing(
        self, function: Callable[[sqlite3.Connection], T], *, epoch: int, ledger: str, doing: str
    ) -> T:
        """One transaction under the fence; run again from its COMMIT while others read."""
        session = self._session
        results: list[T] = []

        def write(database: sqlite3.Connection) -> T:
            if not database.in_transaction:
                session.set_foreign_keys(database, False)
                begin_immediate(database)
                found = read_marker(database, tenant=self._tenant)
                admit(found, epoch=epoch, ledger=ledger, tenant=self._tenant)
                results.append(function(database))
                failpoints.reach("engine.in_transaction")
            commit(database)
            failpoints.reach("engine.after_commit")
            session.set_foreign_keys(database, session.foreign_keys)
            return results[-1]

        return await session.run(write, doing=doing, stop=threading.Event())


def own_tables(database: sqlite3.Connection) -> tuple[str, ...]:
    """The tenant's ordinary tables, the marker apart."""
    return tuple(name for (name,) in database.execute(OWN_TABLES) if name != MARKER_TABLE)


def checkpoint(database: sqlite3.Connection) -> None:
    """Write the -wal file back; nothing to do in other journal modes."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _require_room(path: str, database: sqlite3.Connection, *, tenant: str) -> None:
    """VACUUM writes a copy of the database, and the old pages into the journal."""
    (pages,) = database.execute("PRAGMA main.page_count").fetchone()
    (page,) = database.execute("PRAGMA main.page_size").fetchone()
    size = pages * page
    folder = Path(path).resolve().parent
    temporary = Path(os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir())
    for place, needed in ((folder, 2 * size), (temporary, size)):
        space = os.statvfs(place)
        free = space.f_bavail * space.f_frsize
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


def _key(database: sqlite3.Connection, table: str) -> tuple[str, ...]:
    rows = [row for row in database.execute(COLUMNS, (table,)) if row[1]]
    return tuple(name for name, _ in sorted(rows, key=lambda row: int(row[1])))


def _without_rowid(database: sqlite3.Connection, reference: Reference) -> bool:
    try:
        database.execute(f"SELECT rowid FROM main.{quoted(reference.table)} LIMIT 0")  # noqa: S608
    except sqlite3.OperationalError:
        return True
    return False


def _references(database: sqlite3.Connection) -> tuple[Reference, ...]:
    tables = own_tables(database)
    parents = {name.lower(): name for name in tables}
    found: list[Reference] = []
    for table in tables:
        keys: dict[int, list[tuple[str, str, str | None, str]]] = {}
        for number, parent, column, other, on_delete in database.execute(FOREIGN_KEYS, (table,)):
            keys.setdefault(number, []).append((parent, column, other, on_delete))
        for rows in (keys[number] for number in sorted(keys)):
            found.append(_reference(database, table, rows, parents))
    return tuple(found)


def _reference(
    database: sqlite3.Connection,
    table: str,
    rows: Sequence[tuple[str, str, str | None, str]],
    parents: dict[str, str],
) -> Reference:
    parent = parents.get(rows[0][0].lower(), rows[0][0])
    columns = tuple(row[1] for row in rows)
    missing, others = "", tuple(row[2] or "" for row in rows)
    if parent.lower() not in parents:
        missing = f"its parent {parent} is not there"
    else:
        have = {name.lower(): name for name, _ in database.execute(COLUMNS, (parent,))}
        # Without columns a reference means the parent's primary key.
        named = others if all(others) else _key(database, parent)
        if len(named) != len(columns) or any(one.lower() not in have for one in named):
            missing = f"its parent {parent} has no such columns"
        others = tuple(have.get(one.lower(), one) for one in named)
    return Reference(
        name=f"{table}({', '.join(columns)})",
        table=table,
        columns=columns,
        parent=parent,
        parent_columns=others,
        on_delete=rows[0][3].upper(),
        missing=missing,
    )


def _orphaned(reference: Reference) -> str:
    """The condition for a row `c` to have no parent; NULL in any column refers to nothing."""
    present = " AND ".join(f"c.{quoted(one)} IS NOT NULL" for one in reference.columns)
    if reference.missing:
        return present
    same = " AND ".join(
        f"p.{quoted(other)} = c.{quoted(one)}"
        for one, other in zip(reference.columns, reference.parent_columns, strict=True)
    )
    parent = quoted(reference.parent)
    return f"{present} AND NOT EXISTS (SELECT 1 FROM main.{parent} AS p WHERE {same})"  # noqa: S608


def _unreferred(what: Archivable) -> str:
    """The condition for a row `t` that nothing refers to."""
    conditions = []
    for one in what.referred:
        same = " AND ".join(
            f"t.{quoted(other)} = c.{quoted(column)}"
            for column, other in zip(one.columns, one.parent_columns, strict=True)
        )
        conditions.append(f"NOT EXISTS (SELECT 1 FROM main.{quoted(one.table)} AS c WHERE {same})")  # noqa: S608
    return "(" + (" AND ".join(conditions) or "1") + ")"


def _times(before: datetime) -> dict[str, object]:
    seconds = before.timestamp()
    return {
        "days": seconds / SECONDS_A_DAY + JULIAN_OF_1970,
        "seconds": seconds,
        "millis": seconds * 1000,
        "from": MILLISECONDS_FROM,
    }
