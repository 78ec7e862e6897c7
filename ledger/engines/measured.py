"""What is measured before a migration's first step, and compared at its end.

Invariant: the first measurement counts. It is kept in the tenant's marker until the migration's
end, so that a run that goes on after a kill or a failure does not take the middle for the before.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.events import Part

COUNTED_MAX: Final = 100_000
"""Rows beyond these are not counted: it would cost more than what it is good for."""

COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 100001) AS counted"
"""How many rows the `table` has, COUNTED_MAX + 1 for more."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a query would be run, a line for each part of it; or why it cannot be."""

    lines: tuple[str, ...] = ()
    error: str = ""


class Dangling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One foreign key with rows that refer to nothing: `rows` of the table `child`.

    `parent`, its root page, and its `columns` are what they refer to; `parent_columns` are all
    columns that it has (none: there is no such table). `keys` counts the rows by the values that they
    have; None for too many values. `unique` is false where the parent's columns are not, so that SQLite cannot
    look for the rows.
    """

    child: str
    parent: str
    columns: tuple[str, ...] = ()
    root: int = 0
    parent_columns: tuple[str, ...] = ()
    rows: int = 0
    keys: dict[str, int] | None = None
    unique: bool = True


class References(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All foreign keys that dangle. `keyed` are all (table, parent) with a foreign key between them,
    `tables` the names of all tables, in small letters; both are empty where nothing dangles."""

    dangling: tuple[Dangling, ...] = ()
    tables: tuple[str, ...] = ()
    keyed: tuple[tuple[str, str], ...] = ()


class StepParts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step found so already."""

    step: int
    parts: tuple[Part, ...] = ()


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first measurements. `bytes` is the tenant's size. `plans` are query plans, by the SHA-256
    of the query's text. None: not measured. `absent` are numbers of steps CREATE … IF NOT EXISTS
    whose object was not there, so that it is the tenant's own when a repeated step finds it; `open`
    are those of steps that their guard has let run; `already` is what the guards in a step's statement
    found so before it first ran.
    """

    bytes: int | None = None
    plans: tuple[tuple[str, Plan], ...] | None = None
    references: References | None = None
    absent: tuple[int, ...] = ()
    open: tuple[int, ...] = ()
    already: tuple[StepParts, ...] = ()
