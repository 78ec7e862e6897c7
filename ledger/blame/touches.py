"""What one statement does to tables, views and columns, from its kind; and what differs between two schemas.

Pure. Names are bare and in small letters, since no database that the ledger knows distinguishes columns
by case, and none of its tenants has two tables that differ by case alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from ledger.dialects.base import Dialect
from ledger.dialects.kinds import Clause, StatementKind
from ledger.events import Change
from ledger.schema import Schema

Did = Literal["created", "altered", "renamed", "indexed", "rows", "dropped", "seen"]
"""`seen`: it is there, and what was before is not known."""


class Touch(NamedTuple):
    """One thing done to `table`, or to its `column`; `new` is the name that a rename gave.

    `columns` are those of a table that was created, None where they are not known. `guarded`: it may
    have been there.
    """

    did: Did
    table: str
    column: str = ""
    new: str = ""
    columns: frozenset[str] | None = None
    guarded: bool = False


_KEYS: Final = frozenset(
    {"INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "CHECK", "FOREIGN", "PRIMARY"}
)


def touches(sql: str, kind: StatementKind, dialect: Dialect) -> tuple[Touch, ...]:
    """What a statement does, in its order; nothing for one that only reads, or whose effect is not known."""
    return tuple(_touches(sql, kind, dialect))


def _touches(sql: str, kind: StatementKind, dialect: Dialect) -> Iterator[Touch]:
    if kind.temporary:
        return
    if kind.kind == "dml" or kind.verb == "TRUNCATE":
        yield Touch("rows", bare(kind.target))
    elif kind.verb == "CREATE" and kind.object == "table":
        listed = frozenset(name.lower() for name in dialect.created_columns(sql))
        yield Touch("created", bare(kind.target), columns=listed or None, guarded=kind.guarded)
    elif kind.verb == "CREATE" and kind.object != "index":
        yield Touch("created", bare(kind.target), guarded=kind.may_find)
        if kind.owner:
            yield Touch("altered", bare(kind.owner))
    elif kind.verb in ("CREATE", "DROP") and kind.object == "index":
        yield Touch("indexed", bare(kind.owner), new=bare(kind.target))
    elif kind.verb == "DROP" and kind.kind == "ddl":
        for name in kind.names:
            yield Touch("dropped", bare(name))
    elif kind.verb in ("ALTER", "RENAME"):
        yield from _altered(kind)


def _altered(kind: StatementKind) -> Iterator[Touch]:
    table = bare(kind.target)
    parts = [part for clause in kind.clauses for part in _clause(clause, table)]
    if kind.verb == "ALTER" and not (parts or kind.renames):
        parts.append(Touch("altered", table))
    yield from parts
    for old, new in kind.renames:
        yield Touch("renamed", bare(old), new=bare(new))


def _clause(clause: Clause, table: str) -> Iterator[Touch]:
    verb, *rest = (*clause.words, "")
    name, new = clause.name.lower(), clause.new.lower()
    if not _KEYS.isdisjoint(rest) or not name:
        if not (verb == "RENAME" and rest[0] in ("", "TO", "AS")):
            yield Touch("altered", table)
    elif verb == "ADD":
        yield Touch("created", table, name, guarded=clause.guarded)
    elif verb == "DROP":
        yield Touch("dropped", table, name)
    elif verb in ("CHANGE", "RENAME") and new and new != name:
        yield Touch("renamed", table, name, new=new)
    elif verb in ("MODIFY", "ALTER", "CHANGE"):
        yield Touch("altered", table, name)
    elif not (verb == "RENAME" and rest[0] in ("TO", "AS", "")):
        yield Touch("altered", table)


def of_changes(changes: Iterable[Change], after: Schema | None = None) -> tuple[Touch, ...]:
    """What differs between two schemas; `after` is the later one, where it is known."""
    listed = columns_of(after) if after is not None else {}
    did: dict[str, Did] = {"added": "created", "missing": "dropped", "changed": "altered"}
    found: list[Touch] = []
    for change in changes:
        name = change.name.lower()
        if change.kind == "column":
            table, _, column = name.partition(".")
            found.append(Touch(did[change.how], table, column))
        elif change.kind in ("index", "foreign key", "check"):
            found.append(Touch("indexed", name.partition(".")[0], new=name.partition(".")[2]))
        else:
            found.append(Touch(did[change.how], name, columns=listed.get(name)))
    return tuple(found)


def all_seen(schema: Schema) -> tuple[Touch, ...]:
    """Everything that is there."""
    found = [Touch("seen", name, columns=names) for name, names in columns_of(schema).items()]
    return (*found, *(Touch("seen", one.name.lower()) for one in schema.definitions))


def columns_of(schema: Schema) -> dict[str, frozenset[str]]:
    """The columns of each table."""
    return {
        table.name.lower(): frozenset(column.name.lower() for column in table.columns)
        for table in schema.tables
    }


def bare(name: str) -> str:
    """Without a qualifier, in small letters."""
    return name.rpartition(".")[2].lower()
