"""What `reset --drop-all` drops, and in which order: decided from what is owned and what is there.

Invariant: what the migrations did not make is never chosen; where something else
refers to what they made, nothing is dropped at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ledger.errors import TenantError
from ledger.schema import Schema, Table
from ledger.scripts.created import Owned

_FIRST: Final = ("event", "view", "trigger", "index")
_LAST: Final = ("sequence", "procedure", "function", "package", "library")


class DropList(msgspec.Struct, frozen=True, kw_only=True):
    """`objects` in the order to drop them; `left` says what stays although a migration touched it."""

    objects: tuple[Owned, ...] = ()
    left: tuple[str, ...] = ()


def decide_drops(
    owned: Sequence[Owned],
    schema: Schema,
    *,
    foreign: Iterable[str] = (),
    prefix: str = "",
    same_case: bool = True,
) -> DropList:
    """The owned objects that are there: views first, then tables, children before parents.

    Triggers and indexes go with their table; only those on tables that stay are
    named. `same_case` is false where the database does not tell `T` from `t`.
    Raises TenantError if a table that stays refers to one that would go.
    """
    fold: Callable[[str], str] = (lambda name: name) if same_case else str.lower
    tables = {fold(_live(table.name, prefix)): table for table in schema.tables}
    there = {(name, "table") for name in tables}
    there |= {
        (
            fold(_live(definition.name, prefix)),
            "table" if definition.kind == "virtual table" else definition.kind,
        )
        for definition in schema.definitions
    }
    there |= {
        (fold(_live(index.name, prefix)), "index")
        for table in schema.tables
        for index in table.indexes
        if index.name
    }
    live = [each for each in owned if (fold(each.name), each.kind) in there]
    going = {fold(each.name) for each in live if each.kind == "table"}
    _refuse_references(tables, going, fold, prefix)
    order = {name: at for at, name in enumerate(_children_first(tables, going, fold, prefix))}
    standing = [each for each in live if not (each.table and fold(each.table) in going)]
    objects = [each for kind in _FIRST for each in standing if each.kind == kind]
    objects += sorted(
        (each for each in standing if each.kind == "table"),
        key=lambda each: order.get(fold(each.name), -1),
    )
    objects += [each for kind in _LAST for each in standing if each.kind == kind]
    kept = sorted({name for name in foreign if fold(name) in {fold(table) for table in tables}})
    return DropList(
        objects=tuple(objects),
        left=tuple(
            f"table {name} was not created by these migrations: it stays, as they changed it"
            for name in kept
        ),
    )


def _live(name: str, prefix: str) -> str:
    """A schema's neutral name as the tenant has it."""
    return name.replace("{prefix}", prefix)


def _refuse_references(
    tables: Mapping[str, Table], going: set[str], fold: Callable[[str], str], prefix: str
) -> None:
    for name, table in tables.items():
        if name in going:
            continue
        for key in table.foreign_keys:
            parent = fold(_live(key.parent, prefix))
            if parent in going:
                raise TenantError(
                    f"table {_live(table.name, prefix)}, which these migrations did not create,"
                    f" refers to table {_live(key.parent, prefix)}, which they did",
                    hint="Drop that foreign key first; nothing was dropped.",
                )


def _children_first(
    tables: Mapping[str, Table], going: set[str], fold: Callable[[str], str], prefix: str
) -> list[str]:
    """Depth first along the foreign keys, children before the parents; a cycle is cut where it is met."""
    children: dict[str, list[str]] = {name: [] for name in going}
    for name in sorted(going & tables.keys()):
        for key in tables[name].foreign_keys:
            parent = fold(_live(key.parent, prefix))
            if parent in going and parent != name:
                children[parent].append(name)
    done: list[str] = []
    seen: set[str] = set()
    for start in sorted(going):
        stack = [(start, False)]
        while stack:
            name, left = stack.pop()
            if left:
                done.append(name)
            elif name not in seen:
                seen.add(name)
                stack.append((name, True))
                stack += [(child, False) for child in children[name]]
    return done
