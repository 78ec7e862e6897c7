"""Foreign keys that lead nowhere: found, and compared by what the rows refer to.

A migration is answerable for what it makes dangle, and not for what dangled before under another
name: a table or column may have been renamed since, or its rows copied. Invariant: reads only.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from string import ascii_lowercase, ascii_uppercase
from typing import Final, NamedTuple

from ledger.engines.measured import Dangling, References
from ledger.engines.sqlite.schema.ddl import quoted
from ledger.engines.sqlite.trouble import is_busy
from ledger.errors import CheckFailedError

MOST_KEYS: Final = 1000
"""Values kept of one foreign key; with more of them, rows are compared by their number."""

LONGEST_KEY: Final = 64

_SMALL: Final = str.maketrans(ascii_uppercase, ascii_lowercase)

COUNT: Final = """
SELECT "table", fkid, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2
"""
COUNT_OF: Final = """
SELECT "table", fkid, count(*) FROM pragma_foreign_key_check(?, 'main') GROUP BY 1, 2
"""
TABLES: Final = "SELECT name, rootpage FROM main.sqlite_master WHERE type = 'table'"
FOREIGN_KEYS: Final = """
SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?, 'main') ORDER BY id, seq
"""
COLUMNS: Final = "SELECT name, pk FROM pragma_table_xinfo(?, 'main') WHERE hidden <> 1 ORDER BY cid"
UNIQUE_INDEXES: Final = """
SELECT name FROM pragma_index_list(?, 'main') WHERE "unique" AND NOT partial
"""
INDEX_COLUMNS: Final = "SELECT name FROM pragma_index_info(?, 'main')"
KEYS: Final = """
SELECT {key}, count(*) FROM main.{child} AS c
WHERE {given} AND NOT EXISTS (SELECT 1 FROM main.{parent} AS p WHERE {same})
GROUP BY 1 LIMIT {limit}
"""
ALL_KEYS: Final = (
    "SELECT {key}, count(*) FROM main.{child} AS c WHERE {given} GROUP BY 1 LIMIT {limit}"
)


class _Key(NamedTuple):
    """A foreign key: pairs of the child's column and the parent's, in the parent's order."""

    parent: str
    pairs: tuple[tuple[str, str], ...]
    parent_columns: tuple[str, ...]


def any_dangles(database: sqlite3.Connection) -> bool:
    """Whether some foreign key leads nowhere, or cannot be followed."""
    try:
        return (
            database.execute("SELECT 1 FROM pragma_foreign_key_check LIMIT 1").fetchone()
            is not None
        )
    except sqlite3.OperationalError as error:
        if is_busy(error) or not database.in_transaction:
            raise
        return True


def dangling(database: sqlite3.Connection) -> References:
    """All foreign keys that dangle now, with the values that lead nowhere."""
    found = database.execute(TABLES).fetchall()
    tables = {fold(name): root for name, root in found}
    keys = {name: _keys(database, name) for name, _ in found}
    keyed = {(fold(name), fold(key.parent)) for name in keys for key in keys[name].values()}
    return References(
        dangling=tuple(
            _describe(database, table, keys[table][number], rows, tables)
            for table, number, rows in _counted(database, keys)
        ),
        tables=tuple(sorted(tables)),
        keyed=tuple(sorted(keyed)),
    )


def _counted(
    database: sqlite3.Connection, keys: Mapping[str, Mapping[int, _Key]]
) -> list[tuple[str, int, int | None]]:
    """Table, number of the foreign key, rows; None for rows that SQLite cannot look for."""
    try:
        return list(database.execute(COUNT))
    except sqlite3.OperationalError as error:
        if is_busy(error) or not database.in_transaction:
            raise
    found: list[tuple[str, int, int | None]] = []
    for table, own in keys.items():
        try:
            found += database.execute(COUNT_OF, (table,)).fetchall()
        except sqlite3.OperationalError as error:
            if is_busy(error) or not database.in_transaction:
                raise
            loose = [number for number, key in own.items() if not _is_unique(database, key)]
            found += [(table, number, None) for number in loose or own]
    return found


def _keys(database: sqlite3.Connection, child: str) -> dict[int, _Key]:
    """The foreign keys of a table by SQLite's number."""
    pairs: dict[int, list[tuple[str, str | None]]] = {}
    parents: dict[int, str] = {}
    for number, parent, column, other in database.execute(FOREIGN_KEYS, (child,)).fetchall():
        parents[number] = parent
        pairs.setdefault(number, []).append((column, other))
    found = {}
    for number, parent in parents.items():
        columns = database.execute(COLUMNS, (parent,)).fetchall()
        names = tuple(fold(name) for name, _ in columns)
        primary = [str(name) for name, at in sorted(columns, key=lambda row: row[1]) if at]
        given = [
            (column, other or (primary[place] if place < len(primary) else ""))
            for place, (column, other) in enumerate(pairs[number])
        ]
        given.sort(key=lambda row: names.index(fold(row[1])) if fold(row[1]) in names else -1)
        found[number] = _Key(parent, tuple(given), names)
    return found


def _is_unique(database: sqlite3.Connection, key: _Key) -> bool:
    wanted = sorted(fold(other) for _, other in key.pairs)
    columns = database.execute(COLUMNS, (key.parent,)).fetchall()
    if sorted(fold(name) for name, at in columns if at) == wanted:
        return True
    return any(
        sorted(fold(name) for (name,) in database.execute(INDEX_COLUMNS, (index,))) == wanted
        for (index,) in database.execute(UNIQUE_INDEXES, (key.parent,)).fetchall()
    )


def _describe(
    database: sqlite3.Connection,
    child: str,
    key: _Key,
    rows: int | None,
    tables: Mapping[str, int],
) -> Dangling:
    return Dangling(
        child=child,
        parent=key.parent,
        columns=tuple(fold(other) for _, other in key.pairs),
        root=tables.get(fold(key.parent), 0),
        parent_columns=key.parent_columns,
        rows=rows or 1,
        keys=None if rows is None else _values(database, child, key, rows),
        unique=rows is not None,
    )


def _values(
    database: sqlite3.Connection, child: str, key: _Key, rows: int
) -> dict[str, int] | None:
    """The values that lead nowhere and how many rows have each; None if they are too many.

    `+` leaves the parent's column to say how values compare, as a foreign key does, and its index
    of use. None too if that finds other rows than SQLite's own check.
    """
    sql = (KEYS if key.parent_columns else ALL_KEYS).format(
        key=" || ',' || ".join(f"hex(c.{quoted(column)})" for column, _ in key.pairs),
        child=quoted(child),
        given=" AND ".join(f"c.{quoted(column)} IS NOT NULL" for column, _ in key.pairs),
        parent=quoted(key.parent),
        same=" AND ".join(
            f"p.{quoted(other)} = +c.{quoted(column)}" for column, other in key.pairs
        ),
        limit=MOST_KEYS + 1,
    )
    found: Counter[str] = Counter()
    for text, count in database.execute(sql).fetchall():
        found[text if len(text) <= LONGEST_KEY else sha256(text.encode()).hexdigest()] += count
    return dict(found) if len(found) <= MOST_KEYS and found.total() == rows else None


def fold(name: str) -> str:
    """A name as SQLite compares it: only A to Z are folded."""
    return name.translate(_SMALL)


def new_since(now: References, before: References) -> tuple[Dangling, ...]:
    """What dangles now and did not before; `rows` are those beyond.

    A foreign key may have as many rows with a value as all that referred to the same before; of those
    that cannot be followed there may be as many.
    """
    return tuple(beyond for each in now.dangling for beyond in _beyond(each, now, before))


def _beyond(key: Dangling, now: References, before: References) -> Iterator[Dangling]:
    alike = [was for was in before.dangling if _refer_to_the_same(key, was, now, before)]
    if not key.unique:
        same = [each for each in now.dangling if not each.unique and _same_key(each, key)]
        rows = int(len(same) > sum(not was.unique for was in alike))
    elif key.keys is None or any(was.keys is None for was in alike):
        rows = key.rows - sum(was.rows for was in alike if was.unique)
    else:
        had = Counter[str]()
        for was in alike:
            had.update(was.keys or {})
        rows = (Counter(key.keys) - had).total()
    if rows > 0:
        yield Dangling(
            child=key.child, parent=key.parent, columns=key.columns, root=key.root,
            parent_columns=key.parent_columns, rows=rows, unique=key.unique,
        )  # fmt: skip


def _same_key(key: Dangling, other: Dangling) -> bool:
    return (fold(key.parent), key.columns) == (fold(other.parent), other.columns)


def _refer_to_the_same(key: Dangling, was: Dangling, now: References, before: References) -> bool:
    """Whether the two refer to the same columns of the same table, which may be renamed since."""
    new, old = fold(key.parent), fold(was.parent)
    replaced = new not in before.tables and old not in now.tables
    if new != old and not (key.root and key.root == was.root) and not replaced:
        return False
    if len(key.columns) != len(was.columns):
        return False
    return all(
        here == there or (here not in was.parent_columns and there not in key.parent_columns)
        for here, there in zip(key.columns, was.columns, strict=True)
    )


def violated(
    new: Sequence[Dangling], before: References, *, tenant: str, migration: str, landed: bool
) -> CheckFailedError:
    """The error for foreign keys that the migration would leave dangling, or (`landed`) has left so."""
    words = "; ".join(
        f"{key.rows} row{'s' * (key.rows != 1)} of {key.child!r} would refer to nothing in {key.parent!r}"
        if key.unique
        else f"the columns of {key.parent!r} that {key.child!r} refers to are not unique"
        for key in sorted(new, key=lambda each: (each.child, each.parent))
    )
    return CheckFailedError(
        f"foreign keys are violated: {words}",
        hint=_hint(new[0], before)
        + (" Its steps have landed: correct the rows, then run the command again." * landed)
        + " A file whose references are not to be checked says `-- foreign-key-check: off`.",
        tenant=tenant,
        migration=migration,
    )


def _hint(key: Dangling, before: References) -> str:
    child, parent = fold(key.child), fold(key.parent)
    if not key.unique:
        return "Give them a PRIMARY KEY or a UNIQUE index."
    if key.parent_columns:
        if (child, parent) in before.keyed:
            return (
                "Its rows were referred to: keep them, or delete or change what refers to them too."
            )
        return "The foreign key is new: delete or correct the rows that do not meet it in a step before."
    if parent in before.tables:
        return f"The table {key.parent!r} is gone: change or drop what refers to it too."
    if (child, parent) in before.keyed or child not in before.tables:
        return f"There is no table {key.parent!r}: create it first."
    return (
        f"ALTER TABLE … RENAME TO {key.parent} took the references along: create the new table under"
        " another name, copy the rows, drop the old table, then rename the new one; or write"
        " `PRAGMA legacy_alter_table = ON` before the rename."
    )
