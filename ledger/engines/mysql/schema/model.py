"""What is read of a tenant's schema, as values."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ledger.dialects.steps import Step
from ledger.events import Mark
from ledger.schema import Schema

Row = tuple[Any, ...]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What is the tenant's own: names of tables and views, triggers as rows, programs as (kind, name).

    `all_names` are the marker's and the neighbours' too, where they have the prefix.
    `unclear` are objects with the prefix, as (kind, name), whose owner nothing settles.
    """

    tables: tuple[str, ...]
    views: tuple[str, ...]
    sequences: tuple[str, ...]
    triggers: tuple[Row, ...]
    programs: tuple[tuple[str, str], ...]
    bytes: int
    all_names: tuple[str, ...]
    unclear: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of tables, views and sequences."""
        return (*self.tables, *self.views, *self.sequences)

    @property
    def beside(self) -> tuple[str, ...]:
        """Names with the tenant's prefix that are not its own."""
        own = {*self.names, *(name for _, name in self.programs)}
        return tuple(sorted({*self.all_names} - own))

    @property
    def empty(self) -> bool:
        """Whether the tenant has nothing but, perhaps, its marker."""
        return not (self.tables or self.views or self.sequences or self.triggers or self.programs)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as it was read. `texts` is the hash of the texts behind it, `names` of tables and views."""

    mark: Mark
    schema: Schema
    texts: str
    names: frozenset[str]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known to be the tenant's: `names`, and what the migrations `ids` touch."""

    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


NOTHING: Final = Claimed()


class Strangers(msgspec.Struct, frozen=True, kw_only=True):
    """Names that belong to another tenant, and names whose owner nothing settles."""

    others: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps make of an empty database.

    `lines` are SHOW CREATE TABLE's, by table (with `{prefix}`), kind and name in small letters.
    """

    steps: tuple[Step, ...]
    schema: Schema
    lines: dict[tuple[str, str, str], str]
    fold_tables: bool
