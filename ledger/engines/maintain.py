"""Maintenance of an open tenant behind one small protocol: what `Session.maintenance` gives.

Invariant: every method that changes rows does it in one transaction that holds the
fence, and may be called again after a crash; a row is removed only if it is still
what the given line says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from ledger.errors import TenantError

MILLISECONDS_FROM = 100_000_000_000
"""A whole number from here on counts milliseconds (it would be the year 5138 in seconds)."""


class Reference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A declared foreign key, enforced or not.

    `name` is the constraint's, or made of its columns where the database keeps none.
    `missing` says why its orphans cannot be found or mended (its parent is not there).
    """

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    missing: str = ""

    @property
    def sets_null(self) -> bool:
        """Whether an orphan is mended by setting its columns to NULL, as the key itself would."""
        return self.on_delete == "SET NULL"


class Orphans(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows of `reference.table` that refer to no row; `samples` show some of them by key."""

    reference: Reference
    count: int
    samples: tuple[str, ...] = ()


class Archivable(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose old rows may be moved out: its `columns`, its primary `key`, and what refers to it.

    `kind` says how `column` holds times: `any` (SQLite), `date`, `number`.
    """

    table: str
    column: str
    kind: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    referred: tuple[Reference, ...] = ()


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` are old and free to go; `held` are old and referred to; `unreadable` hold no time."""

    rows: int
    held: int = 0
    unreadable: int = 0


class Maintenance(Protocol):
    """One open tenant's maintenance. All methods raise TenantError subclasses."""

    async def optimize(
        self, *, epoch: int, ledger: str, deadline_seconds: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Refresh statistics and give free space back; the tables that were treated, and notes.

        Raises TenantError, having changed nothing, where the disk has too little room.
        """
        ...

    async def references(self) -> tuple[Reference, ...]:
        """Every foreign key that the tenant's own tables declare."""
        ...

    async def orphans(self, reference: Reference, *, samples: int) -> Orphans:
        """Count the rows without a parent, and show some."""
        ...

    async def mend(self, reference: Reference, *, limit: int, epoch: int, ledger: str) -> int:
        """Delete at most `limit` orphans (or set their columns to NULL), in one transaction."""
        ...

    async def archivable(self, table: str, column: str) -> Archivable:
        """Raises TenantError for a table or column that is not there, without primary key or time."""
        ...

    async def old(self, what: Archivable, *, before: datetime) -> Old:
        """Count what is older than `before`."""
        ...

    async def lines(
        self, what: Archivable, *, before: datetime, after: bytes | None, limit: int
    ) -> list[bytes]:
        """Old rows that nothing refers to, as JSON without line ends, by key, from after that row on."""
        ...

    async def remove(
        self, what: Archivable, lines: Sequence[bytes], *, epoch: int, ledger: str
    ) -> tuple[int, int]:
        """Delete, in one transaction, the rows that are still exactly these and referred to by nothing.

        Returns how many were deleted, and how many are there but changed or referred to by now.
        """
        ...


def no_table(table: str, *, tenant: str) -> TenantError:
    """The table is not the tenant's."""
    return TenantError(
        f"it has no table {table!r} of its own",
        hint="For prefix tenants write --table '{prefix}NAME'.",
        tenant=tenant,
    )


class Conditions(msgspec.Struct, frozen=True):
    """The SQL about references that every database writes alike, with its own quoting.

    `quoted` quotes a column's name, `place` a table's with what stands before it. In a condition the
    children are `c`, the parents `p`, and the rows of a table that is archived `t`.
    """

    quoted: Callable[[str], str]
    place: Callable[[str], str]

    def columns(self, names: Iterable[str], *, of: str = "") -> str:
        """The names, quoted and with commas, each after the alias `of`."""
        return ", ".join(f"{of}.{self.quoted(name)}" if of else self.quoted(name) for name in names)

    def orphaned(self, reference: Reference) -> str:
        """Whether a row `c` has no parent; NULL in any column refers to nothing."""
        present = " AND ".join(f"c.{self.quoted(name)} IS NOT NULL" for name in reference.columns)
        if reference.missing:
            return present
        same = self._same("p", reference.parent_columns, "c", reference.columns)
        parent = self.place(reference.parent)
        return f"{present} AND NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE {same})"  # noqa: S608

    def unreferred(self, what: Archivable) -> str:
        """Whether nothing refers to a row `t`."""
        conditions = []
        for reference in what.referred:
            same = self._same("t", reference.parent_columns, "c", reference.columns)
            child = self.place(reference.table)
            conditions.append(f"NOT EXISTS (SELECT 1 FROM {child} AS c WHERE {same})")  # noqa: S608
        return "(" + (" AND ".join(conditions) or "1") + ")"

    def mends(self, reference: Reference) -> str:
        """The beginning of the statement that deletes orphans, or sets their columns to NULL."""
        table = self.place(reference.table)
        if not reference.sets_null:
            return f"DELETE FROM {table}"  # noqa: S608
        empty = ", ".join(f"{self.quoted(name)} = NULL" for name in reference.columns)
        return f"UPDATE {table} SET {empty}"  # noqa: S608

    def _same(self, left: str, columns: Iterable[str], right: str, others: Iterable[str]) -> str:
        return " AND ".join(
            f"{left}.{self.quoted(column)} = {right}.{self.quoted(its)}"
            for column, its in zip(columns, others, strict=True)
        )


def column_named(columns: Iterable[str], wanted: str, *, table: str, tenant: str) -> str:
    """The column, whatever its case. Raises TenantError if it is not there."""
    for column in columns:
        if column.lower() == wanted.lower():
            return column
    raise TenantError(
        f"table {table!r} has no column {wanted!r}",
        hint="Name the column that says how old a row is.",
        tenant=tenant,
    )


def require_key(key: tuple[str, ...], *, table: str, tenant: str) -> tuple[str, ...]:
    """The primary key's columns. Raises TenantError for none: rows would all be alike."""
    if not key:
        raise TenantError(
            f"table {table!r} has no primary key, so that its rows cannot be deleted one by one",
            hint="Add a primary key by a migration first.",
            tenant=tenant,
        )
    return key
