"""How a live schema differs from what it should be, and which tenants differ alike. Pure.

What a tenant should be follows from what it should have been before and from what a command
changed: a difference that was there before is no part of it, a change by a migration is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

import msgspec

from ledger.events import Change
from ledger.schema import Definition, Index, Schema, Table

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)

LEAST_VOTES: Final = 2
"""One tenant alone agrees with nobody."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants with the very same changes."""

    changes: tuple[Change, ...]
    tenants: tuple[str, ...]


def compare(expected: Schema, found: Schema) -> tuple[Change, ...]:
    """Every added, missing or changed object, in a stable order.

    Added means: in the tenant and not expected. A column, index, foreign key or
    check is named `TABLE.NAME`.
    """
    changes: list[Change] = []
    changes += _keyed(
        "table",
        _tables(expected),
        _tables(found),
        _table_text,
    )
    pairs = _tables(expected)
    for table in found.tables:
        before = pairs.get(table.name)
        if before is not None:
            changes += _inside(before, table)
    kinds = sorted({definition.kind for definition in (*expected.definitions, *found.definitions)})
    for kind in kinds:
        changes += _keyed(
            kind,
            {
                definition.name: definition
                for definition in expected.definitions
                if definition.kind == kind
            },
            {
                definition.name: definition
                for definition in found.definitions
                if definition.kind == kind
            },
            lambda definition: definition.text,
        )
    return tuple(changes)


def visible(schema: Schema, ignored: Sequence[str], *, prefix: str = "") -> Schema:
    """The schema without the objects whose names match a pattern of `ignored`, in any case.

    A table goes with all that is its own. Names are compared with the tenant's prefix, and
    without it.
    """
    if not ignored:
        return schema
    patterns = [pattern.lower() for pattern in ignored]

    def hidden(name: str) -> bool:
        names = {name.replace("{prefix}", start).lower() for start in (prefix, "")}
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    return without(schema, hidden)


def without(schema: Schema, gone: Callable[[str], bool]) -> Schema:
    """The schema without the objects whose names are `gone`. A table goes with all that is its own."""
    return Schema(
        tables=tuple(table for table in schema.tables if not gone(table.name)),
        definitions=tuple(
            definition for definition in schema.definitions if not gone(definition.name)
        ),
    )


def carried(expected: Schema, before: Schema, after: Schema) -> Schema:
    """What a tenant should be, after a command made `after` of `before` where it should have been `expected`.

    What the command changed counts as it is now; what it left alone is as it should have been.
    """
    return Schema(
        tables=tuple(_merged(_tables(expected), _tables(before), _tables(after), _joined)),
        definitions=tuple(
            _merged(_definitions(expected), _definitions(before), _definitions(after))
        ),
    )


def replayed(carried: Schema, expected: Schema, before: Schema, after: Schema) -> Schema:
    """`carried`, with what the migrations themselves make of an empty database where that can be trusted.

    That is each object that they make, `before` the last of them, exactly as `expected` has it;
    it should be as it is `after` the last. The others are what was there before the first one.
    """

    def chosen(of: Callable[[Schema], Mapping[Key, T]]) -> Iterator[T]:
        left, should, was, now = of(carried), of(expected), of(before), of(after)
        for key in (*left, *(key for key in now if key not in left)):
            made = key in was or key in now
            found = now.get(key) if made and was.get(key) == should.get(key) else left.get(key)
            if found is not None:
                yield found

    return Schema(tables=tuple(chosen(_tables)), definitions=tuple(chosen(_definitions)))


def tolerated(
    reference: Schema, expected: Schema, live: Schema, named: Iterable[tuple[str, str]]
) -> Schema:
    """`reference`, with objects as the live schema has them that guards of a migration name.

    Such a guard held: the migration takes what is there for what it would have made. `named` are
    kinds and names, `TABLE.NAME` for a column. What was `expected` before is not replaced.
    """
    should, there = _names(expected), _names(live)
    for kind, name in named:
        key = (kind, name.lower())
        if key in should or key not in there:
            continue
        table, part = there[key]
        found = _tables(live).get(table)
        if kind == "view":
            views = {**_definitions(reference), ("view", part): _definitions(live)["view", part]}
            reference = msgspec.structs.replace(reference, definitions=tuple(views.values()))
        elif found is not None:
            tables = _tables(reference)
            if part and table in tables:
                found = _with_part(tables[table], found, kind, part)
            tables[table] = found
            reference = msgspec.structs.replace(reference, tables=tuple(tables.values()))
    return reference


def _names(schema: Schema) -> dict[tuple[str, str], tuple[str, str]]:
    """Table and part of what a guard can name: by kind and name in small letters."""
    found = {
        ("view", name.lower()): ("", name) for kind, name in _definitions(schema) if kind == "view"
    }
    for table in schema.tables:
        found["table", table.name.lower()] = (table.name, "")
        for column in table.columns:
            found["column", f"{table.name}.{column.name}".lower()] = (table.name, column.name)
        for index in table.indexes:
            found["index", index.name.lower()] = (table.name, index.name)
    return found


def _with_part(table: Table, like: Table, kind: str, name: str) -> Table:
    of = _PARTS[kind]
    parts = tuple({**of(table), name: of(like)[name]}.values())
    if kind == "column":
        return msgspec.structs.replace(table, columns=parts)
    return msgspec.structs.replace(table, indexes=parts)


def unexplained(
    changes: Sequence[Change], found: Schema, opinion: Schema, *, whole: bool
) -> tuple[Change, ...]:
    """The changes for which a second opinion of what should be has something else than was found.

    `whole`: what the opinion lacks should not be there; otherwise it says nothing of that. That
    a whole table is missing is explained by nothing.
    """
    has, says = _objects(found), _objects(opinion)

    def explained(change: Change) -> bool:
        key = (change.kind, change.name)
        if key not in says:
            return whole and change.kind != "table" and key not in has
        return _same(change, has.get(key), says[key])

    return tuple(change for change in changes if not explained(change))


def _same(change: Change, found: object, said: object) -> bool:
    if change.how == "changed" and isinstance(found, Table) and isinstance(said, Table):
        return found.options == said.options
    return found == said


def agreed(votes: Counter[str]) -> str:
    """What more than half of the tenants have, if there are several of them; or nothing."""
    for fingerprint, count in votes.most_common(1):
        if count >= LEAST_VOTES and count * 2 > votes.total():
            return fingerprint
    return ""


def _tables(schema: Schema) -> dict[str, Table]:
    return {table.name: table for table in schema.tables}


def _definitions(schema: Schema) -> dict[tuple[str, str], Definition]:
    return {(definition.kind, definition.name): definition for definition in schema.definitions}


def _objects(schema: Schema) -> dict[tuple[str, str], object]:
    """Every object by kind and name as `compare` says them."""
    found: dict[tuple[str, str], object] = dict(_definitions(schema))
    for table in schema.tables:
        found["table", table.name] = table
        for kind, of in _PARTS.items():
            found |= {(kind, f"{table.name}.{name}"): text for name, text in of(table).items()}
    return found


def _merged(
    expected: Mapping[Key, T],
    before: Mapping[Key, T],
    after: Mapping[Key, T],
    joined: Callable[[T, T, T], T] | None = None,
) -> Iterator[T]:
    for key in (*after, *(key for key in expected if key not in after)):
        should, was, now = expected.get(key), before.get(key), after.get(key)
        found = should if was == now else now
        if joined and was != now and should and was and now:
            found = joined(should, was, now)
        if found is not None:
            yield found


def _joined(should: Table, was: Table, now: Table) -> Table:
    def parts(kind: str) -> tuple[Any, ...]:
        of = _PARTS[kind]
        return tuple(_merged(of(should), of(was), of(now)))

    return Table(
        name=now.name,
        columns=parts("column"),
        indexes=parts("index"),
        foreign_keys=parts("foreign key"),
        checks=parts("check"),
        options=should.options if was.options == now.options else now.options,
    )


def _table_text(table: Table) -> str:
    return table.options


def _inside(before: Table, after: Table) -> Iterator[Change]:
    prefix = f"{before.name}."
    for kind, of in _PARTS.items():
        yield from _keyed(
            kind,
            {prefix + name: text for name, text in of(before).items()},
            {prefix + name: text for name, text in of(after).items()},
            _part_text,
        )


def _index_name(index: Index) -> str:
    """SQLite's own indexes behind constraints have no name: their columns tell them apart."""
    return index.name or f"({', '.join(index.columns)})"


_PARTS: Final[Mapping[str, Callable[[Table], Mapping[str, Any]]]] = {
    "column": lambda table: {column.name: column for column in table.columns},
    "index": lambda table: {_index_name(index): index for index in table.indexes},
    "foreign key": lambda table: {
        key.name or ",".join(key.columns): key for key in table.foreign_keys
    },
    "check": lambda table: {check: check for check in table.checks},
}
"""What a table consists of, by kind and name."""


def _part_text(value: msgspec.Struct | str) -> str:
    if isinstance(value, str):
        return value
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
    return tuple(sorted(clusters, key=lambda cluster: (-len(cluster.tenants), cluster.tenants)))
