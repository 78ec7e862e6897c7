"""What a statement makes, changes or takes away, and what of it its own guards may leave undone.

Pure. Invariant: what cannot be read from a statement is said to be unknown, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from ledger.dialects.kinds import Clause, StatementKind
from ledger.events import Part

Does = Literal["makes", "takes", "changes", "keeps"]
"""`keeps`: an INSERT that leaves a row as it is where it finds it."""


class Effect(NamedTuple):
    """What a statement makes, changes, or takes away. `space`: table, view, column, key, rows, trigger …

    Indexes and constraints share `key`. `table` is that of a column or a key, where it is known.
    """

    space: str
    name: str
    table: str = ""
    does: Does = "makes"

    @property
    def part(self) -> Part:
        """The same as events hold it."""
        return Part(kind=self.space, name=self.name, table=self.table)


Effects = frozenset[Effect]

_SPACES: Final = {
    "index": "key",
    **{
        name: name
        for name in ("table", "view", "trigger", "procedure", "function", "event", "sequence")
    },
}
_KEYS: Final = frozenset(
    {"INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "CHECK", "FOREIGN"}
)
_NOTHING: Final = frozenset({"SELECT", "SET", "SHOW", "DO", "ANALYZE", "PRAGMA", "BEGIN", "COMMIT"})
_OF_ROWS: Final[dict[str, Does]] = {"DELETE": "takes", "TRUNCATE": "takes", "UPDATE": "changes"}
_OF_CLAUSE: Final[dict[str, Does]] = {"ADD": "makes", "DROP": "takes"}


class Guarded(NamedTuple):
    """What an IF [NOT] EXISTS asks for: whether an object is there. `sort` is that of objects, or `column`,
    `index`, `foreign`, `check`, `constraint` of a `table`. `parts` are left alone where it is there (with `adds`),
    or is not there.
    """

    sort: str
    name: str
    table: str
    adds: bool
    parts: tuple[Part, ...]


def effects(kind: StatementKind) -> Effects | None:
    """What one statement acts on, names in lower case; None where that is not known."""
    found, whole = readable_effects(kind)
    return found if whole else None


def readable_effects(kind: StatementKind) -> tuple[Effects, bool]:
    """What of one statement's effects can be read, and whether that is all of them."""
    if kind.verb in _NOTHING:
        return frozenset(), kind.kind != "call"
    if kind.kind == "dml" or kind.verb == "TRUNCATE":
        table = _bare(kind.target)
        rows = Effect("rows", table, table, _OF_ROWS.get(kind.verb, "makes"))
        return (frozenset({rows}), True) if table else (frozenset(), False)
    if kind.verb in ("CREATE", "DROP") and kind.object in _SPACES:
        return (frozenset(), True) if kind.temporary else _object(kind)
    if kind.object != "table" or kind.verb not in ("RENAME", "ALTER"):
        return frozenset(), False
    names = [_bare(name) for pair in kind.renames for name in pair]
    found = {Effect("table", name, name, "changes") for name in names if name}
    clauses = [_clause(clause, _bare(kind.target)) for clause in kind.clauses]
    found = found.union(*(one for one in clauses if one is not None))
    return frozenset(found), all(names) and None not in clauses


def guarded(kind: StatementKind) -> tuple[Guarded, ...]:
    """The guards of a DROP, RENAME or ALTER TABLE in the tenant itself."""
    names = (*kind.names, kind.owner, *(name for pair in kind.renames for name in pair))
    if kind.temporary or any("." in name for name in names):
        return ()
    found: list[Guarded] = []
    if kind.guarded and kind.verb == "DROP" and kind.object in _SPACES:
        space, table = _SPACES[kind.object], _bare(kind.owner)
        for name in kind.names:
            part = Part(
                kind=space, name=name.lower(), table=name.lower() if space == "table" else table
            )
            found.append(Guarded(kind.object, name, kind.owner, False, (part,)))
    elif kind.guarded and kind.verb == "RENAME" and kind.object == "table":
        for old, new in kind.renames:
            parts = [Part(kind="table", name=one.lower(), table=one.lower()) for one in (old, new)]
            found.append(Guarded("table", old, "", False, tuple(parts)))
    elif kind.verb == "ALTER" and kind.object == "table":
        if kind.guarded:
            every = tuple(one.part for one in readable_effects(kind)[0])
            found.append(Guarded("table", kind.target, "", False, every))
        found += _guarded_clauses(kind)
    return tuple(found)


def _guarded_clauses(kind: StatementKind) -> Iterable[Guarded]:
    for clause in kind.clauses:
        parts = _clause(clause, _bare(kind.target))
        if clause.guarded and parts:
            yield Guarded(
                _sort(clause),
                clause.name,
                kind.target,
                clause.words[0] == "ADD",
                tuple(one.part for one in parts),
            )


def _sort(clause: Clause) -> str:
    words = {*clause.words, clause.sort}
    if "FOREIGN" in words:
        return "foreign"
    if "CHECK" in words:
        return "check"
    if not words.isdisjoint(("INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "PRIMARY")):
        return "index"
    return "constraint" if "CONSTRAINT" in words else "column"


def _object(kind: StatementKind) -> tuple[Effects, bool]:
    space = _SPACES[kind.object]
    does: Does = "takes" if kind.verb == "DROP" else "changes" if kind.replaces else "makes"
    names = [_bare(name) for name in kind.names]
    owner = _bare(kind.owner)
    found = (Effect(space, one, one if space == "table" else owner, does) for one in names if one)
    return frozenset(found), all(names)


def _clause(clause: Clause, table: str) -> Effects | None:
    """What one clause of ALTER TABLE acts on; a rename of the table itself stands in `renames`."""
    verb, *rest = (*clause.words, "")
    name = clause.name.lower()
    does = _OF_CLAUSE.get(verb, "changes")
    if verb in ("ADD", "DROP") and "PRIMARY" in rest:
        return frozenset({Effect("key", "primary key", table, does)})
    if verb == "RENAME" and (rest[0] in ("TO", "AS") or not (rest[0] or clause.new)):
        return frozenset()
    if not name or "PARTITION" in rest:
        return None
    key = not _KEYS.isdisjoint(rest)
    if verb in ("ADD", "DROP") or (verb in ("MODIFY", "ALTER") and not key):
        return frozenset({Effect("key" if key else "column", name, table, does)})
    if verb in ("CHANGE", "RENAME") and clause.new:
        space = "key" if key else "column"
        names = (name, clause.new.lower())
        return frozenset(Effect(space, one, table, does) for one in names)
    return None


def _bare(name: str) -> str:
    return name.rpartition(".")[2].lower()
