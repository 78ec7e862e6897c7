"""What a tenant's schema lacks of the desired one, and what no addition can bring about.

Pure. Invariant: nothing that the tenant has is dropped, narrowed or changed in meaning: what is
missing and what is too narrow can be added, every other difference is reported as drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ledger.dialects import Dialect
from ledger.events import Change
from ledger.schema import Column, ForeignKey, Index, Schema, Table


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """Something to add or to widen. `table` is as the live schema spells it where it has it."""

    kind: Literal["table", "column", "type", "index"]
    table: str
    desired: str
    name: str = ""
    live_type: str = ""
    desired_type: str = ""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """`additions` in the order they can run: tables, then columns, types and indexes of each table."""

    additions: tuple[Addition, ...] = ()
    drift: tuple[Change, ...] = ()


def gap(desired: Schema, live: Schema, dialect: Dialect, *, fold_tables: bool) -> Gap:
    """Compare the desired schema with the live one. What only the live one has does not count.

    `fold_tables`: the case of letters in names of tables does not count.
    """

    def key(table: Table) -> str:
        return table.name.lower() if fold_tables else table.name

    tables = {key(table): table for table in live.tables}
    additions: list[Addition] = []
    drift: list[Change] = []
    for wanted in desired.tables:
        table = tables.get(key(wanted))
        if table is None:
            # Its indexes come with it, be they written inside it or after it.
            additions.append(Addition(kind="table", table=wanted.name, desired=wanted.name))
            continue
        found = list(_missing(wanted, table, dialect))
        additions += found
        drift += _columns_drift(wanted, table, dialect)
        drift += _indexes_drift(wanted, table, dialect)
        gains = any(addition.kind == "column" for addition in found)
        drift += _constraints_drift(wanted, table, dialect, gains=gains)
        if wanted.options != table.options:
            drift.append(_changed("table", table.name, wanted.options, table.options))
    additions.sort(key=lambda addition: addition.kind != "table")
    return Gap(additions=tuple(additions), drift=tuple(drift))


def as_drift(gap: Gap) -> tuple[Change, ...]:
    """Everything in which the live schema is not as desired: after the additions ran, what is left."""
    kinds = {"type": "column"}
    left = tuple(
        Change(
            kind=kinds.get(lack.kind, lack.kind),
            name=lack.table if lack.kind == "table" else f"{lack.table}.{lack.name}",
            how="changed" if lack.kind == "type" else "missing",
            expected=lack.desired_type,
            found=lack.live_type,
        )
        for lack in gap.additions
    )
    return left + gap.drift


def _missing(wanted: Table, live: Table, dialect: Dialect) -> Iterator[Addition]:
    columns = {column.name.lower(): column for column in live.columns}
    key = _key_columns(wanted) | _key_columns(live)
    for column in wanted.columns:
        there = columns.get(column.name.lower())
        if there is None:
            yield Addition(kind="column", table=live.name, desired=wanted.name, name=column.name)
        elif dialect.relation(there, column, in_key=column.name.lower() in key) == "wider":
            yield Addition(
                kind="type",
                table=live.name,
                desired=wanted.name,
                name=there.name,
                live_type=there.type,
                desired_type=column.type,
            )
    names = {index.name.lower() for index in live.indexes}
    for index in wanted.indexes:
        if index.name.lower() not in names and _can_add(index, live, dialect):
            yield Addition(kind="index", table=live.name, desired=wanted.name, name=index.name)


def _can_add(index: Index, live: Table, dialect: Dialect) -> bool:
    if index.origin == "index":
        return True
    if not dialect.adds_keys:
        return False
    # A primary key would take NULL from columns that may have it now.
    nullable = {column.name.lower() for column in live.columns if column.nullable}
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


def _columns_drift(wanted: Table, live: Table, dialect: Dialect) -> Iterator[Change]:
    columns = {column.name.lower(): column for column in live.columns}
    key = _key_columns(wanted) | _key_columns(live)
    for column in wanted.columns:
        there = columns.get(column.name.lower())
        if there is None:
            continue
        different: list[tuple[str, str, str]] = []
        if dialect.relation(there, column, in_key=column.name.lower() in key) == "differs":
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


def _indexes_drift(wanted: Table, live: Table, dialect: Dialect) -> Iterator[Change]:
    named = {index.name.lower(): index for index in live.indexes if index.name}
    unnamed = {_shape(index) for index in live.indexes if not index.name}
    for index in wanted.indexes:
        there = named.get(index.name.lower())
        label = f"{live.name}.{index.name or ', '.join(index.columns)}"
        if not index.name:
            if _shape(index) not in unnamed:
                yield _missing_change("index", label, _index_text(index))
        elif there is None:
            if not _can_add(index, live, dialect):
                yield _missing_change("index", label, _index_text(index))
        elif _shape(there) != _shape(index):
            yield _changed("index", label, _index_text(index), _index_text(there))


def _shape(index: Index) -> tuple[object, ...]:
    columns = tuple(column.lower() for column in index.columns)
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
    wanted: Table, live: Table, dialect: Dialect, *, gains: bool
) -> Iterator[Change]:
    """Foreign keys and checks. Those of a table that gains columns may come with them: not known yet."""
    keys = {_reference(key): key for key in live.foreign_keys}
    for key in wanted.foreign_keys:
        there = keys.get(_reference(key))
        label = f"{live.name}.{key.name or ', '.join(key.columns)}"
        if there is None:
            if not gains:
                yield _missing_change("foreign key", label, _key_text(key))
        elif _key_text(key) != _key_text(there):
            yield _changed("foreign key", label, _key_text(key), _key_text(there))
    found = {_clause(check, dialect) for check in live.checks}
    for check in wanted.checks:
        if _clause(check, dialect) not in found and not gains:
            yield _missing_change("check", f"{live.name}.{check}", check)


def _clause(check: str, dialect: Dialect) -> str:
    return check.partition(": ")[2] if dialect.named_checks else check


def _reference(key: ForeignKey) -> tuple[object, ...]:
    return tuple(column.lower() for column in key.columns), key.parent.lower()


def _key_text(key: ForeignKey) -> str:
    return (
        f"({', '.join(key.columns)}) references {key.parent} ({', '.join(key.parent_columns)})"
        f" on delete {key.on_delete} on update {key.on_update}" + " deferred" * key.deferred
    )


def _changed(kind: str, name: str, expected: str, found: str) -> Change:
    return Change(kind=kind, name=name, how="changed", expected=expected, found=found)


def _missing_change(kind: str, name: str, expected: str) -> Change:
    return Change(kind=kind, name=name, how="missing", expected=expected)
