"""What a schema that is wished for has beyond the live one, and what cannot be brought about.

Pure. Invariant: nothing that the live schema has is ever to be dropped, narrowed or
changed in meaning: what is missing and what is too narrow can be added, every other
difference is told as drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from ledger.events import Change
from ledger.schema import Column, ForeignKey, Index, Schema, Table

Relation = Literal["same", "wider", "differs"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of database compares and what it can add.

    `types` says what a wished column is beside the live one (its last argument: whether it
    is in the primary key). `adds_keys`: primary and unique keys can be added to a table.
    `fold_tables`: tables' names do not tell A from a. `named_checks`: a check's text begins
    with its name and a colon.
    """

    types: Callable[[Column, Column, bool], Relation]
    adds_keys: bool
    fold_tables: bool
    named_checks: bool = False


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """Something to add or to widen. `table` is as the live schema spells it where it has it."""

    kind: Literal["table", "column", "type", "index"]
    table: str
    wished: str
    name: str = ""
    live_type: str = ""
    wish_type: str = ""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """`additions` in the order they can run: tables, then columns, types and indexes of each table."""

    additions: tuple[Addition, ...] = ()
    drift: tuple[Change, ...] = ()


def gap(wish: Schema, live: Schema, rules: Rules) -> Gap:
    """Compare a wish with what is there. What only the live schema has does not count."""
    tables = {_table_key(one.name, rules): one for one in live.tables}
    additions: list[Addition] = []
    drift: list[Change] = []
    for wished in wish.tables:
        table = tables.get(_table_key(wished.name, rules))
        if table is None:
            # Its indexes come with it, be they written inside it or after it.
            additions.append(Addition(kind="table", table=wished.name, wished=wished.name))
            continue
        found = list(_missing(wished, table, rules))
        additions += found
        drift += _columns_drift(wished, table, rules)
        drift += _indexes_drift(wished, table, rules)
        gains = any(one.kind == "column" for one in found)
        drift += _constraints_drift(wished, table, rules, gains=gains)
        if wished.options != table.options:
            drift.append(_changed("table", table.name, wished.options, table.options))
    additions.sort(key=lambda one: one.kind != "table")
    return Gap(additions=tuple(additions), drift=tuple(drift))


def as_drift(gap: Gap) -> tuple[Change, ...]:
    """Everything in which the live schema is not as wished: after the additions ran, what is left."""
    kinds = {"type": "column"}
    left = tuple(
        Change(
            kind=kinds.get(one.kind, one.kind),
            name=one.table if one.kind == "table" else f"{one.table}.{one.name}",
            how="changed" if one.kind == "type" else "missing",
            expected=one.wish_type,
            found=one.live_type,
        )
        for one in gap.additions
    )
    return left + gap.drift


def _table_key(name: str, rules: Rules) -> str:
    return name.lower() if rules.fold_tables else name


def _missing(wished: Table, live: Table, rules: Rules) -> Iterator[Addition]:
    columns = {one.name.lower(): one for one in live.columns}
    key = _key_columns(wished) | _key_columns(live)
    for column in wished.columns:
        there = columns.get(column.name.lower())
        if there is None:
            yield Addition(kind="column", table=live.name, wished=wished.name, name=column.name)
        elif rules.types(there, column, column.name.lower() in key) == "wider":
            yield Addition(
                kind="type",
                table=live.name,
                wished=wished.name,
                name=there.name,
                live_type=there.type,
                wish_type=column.type,
            )
    names = {one.name.lower() for one in live.indexes}
    for index in wished.indexes:
        if index.name.lower() not in names and _can_add(index, live, rules):
            yield Addition(kind="index", table=live.name, wished=wished.name, name=index.name)


def _can_add(index: Index, live: Table, rules: Rules) -> bool:
    if index.origin == "index":
        return True
    if not rules.adds_keys:
        return False
    # A primary key would take NULL from columns that may have it now.
    nullable = {one.name.lower() for one in live.columns if one.nullable}
    return index.origin != "primary" or not any(
        column.partition("(")[0].lower() in nullable for column in index.columns
    )


def _key_columns(table: Table) -> set[str]:
    return {
        column.lower()
        for index in table.indexes
        if index.origin == "primary"
        for column in index.columns
    }


def _columns_drift(wished: Table, live: Table, rules: Rules) -> Iterator[Change]:
    columns = {one.name.lower(): one for one in live.columns}
    key = _key_columns(wished) | _key_columns(live)
    for column in wished.columns:
        there = columns.get(column.name.lower())
        if there is None:
            continue
        different: list[tuple[str, str, str]] = []
        if rules.types(there, column, column.name.lower() in key) == "differs":
            different.append(("type", column.type, there.type))
        if column.nullable != there.nullable:
            words = {True: "NULL", False: "NOT NULL"}
            different.append(("", words[column.nullable], words[there.nullable]))
        if _default(column) != _default(there):
            different.append(("default", column.default or "none", there.default or "none"))
        if column.extra != there.extra:
            different.append(("extra", column.extra or "none", there.extra or "none"))
        if different:
            yield _changed(
                "column",
                f"{live.name}.{there.name}",
                ", ".join(f"{what} {wanted}".strip() for what, wanted, _ in different),
                ", ".join(f"{what} {found}".strip() for what, _, found in different),
            )


def _default(column: Column) -> str | None:
    """Outside a literal, the case of letters does not count."""
    text = column.default
    return text if text is None or "'" in text or '"' in text else text.upper()


def _indexes_drift(wished: Table, live: Table, rules: Rules) -> Iterator[Change]:
    named = {one.name.lower(): one for one in live.indexes if one.name}
    unnamed = {_shape(one) for one in live.indexes if not one.name}
    for index in wished.indexes:
        there = named.get(index.name.lower())
        label = f"{live.name}.{index.name or ', '.join(index.columns)}"
        if not index.name:
            if _shape(index) not in unnamed:
                yield _missing_change("index", label, _index_text(index))
        elif there is None:
            if not _can_add(index, live, rules):
                yield _missing_change("index", label, _index_text(index))
        elif _shape(there) != _shape(index):
            yield _changed("index", label, _index_text(index), _index_text(there))


def _shape(index: Index) -> tuple[object, ...]:
    columns = tuple(one.lower() for one in index.columns)
    return columns, index.unique, index.origin == "primary", index.where, index.kind


def _index_text(index: Index) -> str:
    words = [
        "primary" if index.origin == "primary" else "unique" if index.unique else "",
        index.kind,
        f"({', '.join(index.columns)})",
        f"where {index.where}" if index.where else "",
    ]
    return " ".join(word for word in words if word)


def _constraints_drift(
    wished: Table, live: Table, rules: Rules, *, gains: bool
) -> Iterator[Change]:
    """Foreign keys and checks. Those of a table that gains columns may come with them: not told yet."""
    keys = {_reference(one): one for one in live.foreign_keys}
    for key in wished.foreign_keys:
        there = keys.get(_reference(key))
        label = f"{live.name}.{key.name or ', '.join(key.columns)}"
        if there is None:
            if not gains:
                yield _missing_change("foreign key", label, _key_text(key))
        elif _key_text(key) != _key_text(there):
            yield _changed("foreign key", label, _key_text(key), _key_text(there))
    found = {_clause(one, rules) for one in live.checks}
    for check in wished.checks:
        if _clause(check, rules) not in found and not gains:
            yield _missing_change("check", f"{live.name}.{check}", check)


def _clause(check: str, rules: Rules) -> str:
    return check.partition(": ")[2] if rules.named_checks else check


def _reference(key: ForeignKey) -> tuple[object, ...]:
    return tuple(one.lower() for one in key.columns), key.parent.lower()


def _key_text(key: ForeignKey) -> str:
    return (
        f"({', '.join(key.columns)}) references {key.parent} ({', '.join(key.parent_columns)})"
        f" on delete {key.on_delete} on update {key.on_update}" + " deferred" * key.deferred
    )


def _changed(kind: str, name: str, expected: str, found: str) -> Change:
    return Change(kind=kind, name=name, how="changed", expected=expected, found=found)


def _missing_change(kind: str, name: str, expected: str) -> Change:
    return Change(kind=kind, name=name, how="missing", expected=expected)
