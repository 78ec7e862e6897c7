"""How a live schema differs from the recorded one, and which tenants differ alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from ledger.events import Change
from ledger.schema import Index, Schema, Table

T = TypeVar("T")


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants with the very same changes."""

    changes: tuple[Change, ...]
    tenants: tuple[str, ...]


def compare(expected: Schema, found: Schema) -> tuple[Change, ...]:
    """Every added, missing or changed object, in a stable order.

    Added means: in the tenant and not recorded. A column, index, foreign key or
    check is named `TABLE.NAME`.
    """
    changes: list[Change] = []
    changes += _keyed(
        "table",
        {table.name: table for table in expected.tables},
        {table.name: table for table in found.tables},
        _table_text,
    )
    pairs = {table.name: table for table in expected.tables}
    for table in found.tables:
        before = pairs.get(table.name)
        if before is not None:
            changes += _inside(before, table)
    kinds = sorted({one.kind for one in (*expected.definitions, *found.definitions)})
    for kind in kinds:
        changes += _keyed(
            kind,
            {one.name: one for one in expected.definitions if one.kind == kind},
            {one.name: one for one in found.definitions if one.kind == kind},
            lambda one: one.text,
        )
    return tuple(changes)


def _table_text(table: Table) -> str:
    return table.options


def _inside(before: Table, after: Table) -> Iterator[Change]:
    prefix = f"{before.name}."
    yield from _keyed(
        "column",
        {prefix + one.name: one for one in before.columns},
        {prefix + one.name: one for one in after.columns},
        _column_text,
    )
    yield from _keyed(
        "index",
        {prefix + _index_name(one): one for one in before.indexes},
        {prefix + _index_name(one): one for one in after.indexes},
        _struct_text,
    )
    yield from _keyed(
        "foreign key",
        {prefix + (one.name or ",".join(one.columns)): one for one in before.foreign_keys},
        {prefix + (one.name or ",".join(one.columns)): one for one in after.foreign_keys},
        _struct_text,
    )
    yield from _keyed(
        "check",
        {prefix + one: one for one in before.checks},
        {prefix + one: one for one in after.checks},
        str,
    )


def _index_name(index: Index) -> str:
    """SQLite's own indexes behind constraints have no name: their columns tell them apart."""
    return index.name or f"({', '.join(index.columns)})"


def _column_text(column: msgspec.Struct) -> str:
    return _struct_text(column)


def _struct_text(value: msgspec.Struct) -> str:
    parts = []
    for name, part in msgspec.structs.asdict(value).items():
        if name != "name" and part not in ("", None, ()):
            shown = ", ".join(part) if isinstance(part, tuple) else str(part)
            parts.append(f"{name}={shown}")
    return " ".join(parts)


def _keyed(
    kind: str, expected: Mapping[str, T], found: Mapping[str, T], text: Callable[[T], str]
) -> Iterator[Change]:
    for name in sorted(expected.keys() | found.keys()):
        before, after = expected.get(name), found.get(name)
        if before is None and after is not None:
            yield Change(kind=kind, name=name, how="added", found=text(after))
        elif before is not None and after is None:
            yield Change(kind=kind, name=name, how="missing", expected=text(before))
        elif before is not None and after is not None and text(before) != text(after):
            yield Change(
                kind=kind, name=name, how="changed", expected=text(before), found=text(after)
            )


def cluster(drifted: Iterable[tuple[str, Sequence[Change]]]) -> tuple[Cluster, ...]:
    """Group tenants by their changes, the largest group first."""
    groups: dict[tuple[Change, ...], list[str]] = {}
    for tenant, changes in drifted:
        groups.setdefault(tuple(changes), []).append(tenant)
    clusters = [
        Cluster(changes=changes, tenants=tuple(sorted(names))) for changes, names in groups.items()
    ]
    return tuple(sorted(clusters, key=lambda one: (-len(one.tenants), one.tenants)))
