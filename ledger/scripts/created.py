"""What a migration creates, by its statements and by its version.json.

Invariant: only what a migration itself made is called its own; what was there
before it (altered, dropped and made again, or found by IF NOT EXISTS) is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Final

import msgspec

from ledger.dialects import DialectName, dialect_of
from ledger.dialects.base import Holder
from ledger.dialects.kinds import StatementKind
from ledger.scripts.model import Check, Migration, Section, Step
from ledger.scripts.placeholders import bind_text

_HOLDERS: Final = ("table", "view", "sequence")
_KINDS: Final = (
    *_HOLDERS,
    "trigger",
    "index",
    "procedure",
    "function",
    "event",
    "package",
    "library",
)
"""A package's body goes with its package."""


class Owned(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An object that a migration made. `kind` is `table`, `view`, `trigger`, `index`, `procedure` …;
    `table` is the table that a trigger or an index belongs to, where that is known."""

    kind: str
    name: str
    table: str = ""


class Ownership:
    """Folds statements, in the order they ran, into what they made. Names compare without case."""

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = dialect_of(dialect)
        self._owned: dict[tuple[str, str], Owned] = {}
        self._foreign: set[str] = set()

    @property
    def owned(self) -> tuple[Owned, ...]:
        """What is left of what was made, in the order it was made."""
        return tuple(self._owned.values())

    @property
    def foreign(self) -> tuple[str, ...]:
        """Tables that the statements changed and had not made, sorted."""
        return tuple(sorted(self._foreign))

    def step(self, sql: str, *, existed: bool = False) -> None:
        """Take a statement in that ran. `existed`: its IF NOT EXISTS found the object there.

        What is in another database, and what ends with the session, is nobody's here.
        """
        kind = self._dialect.classify(sql)
        spaces = {name.rpartition(".")[0].lower() for name in (kind.target, *kind.touched)}
        if kind.kind != "ddl" or spaces - {"", self._dialect.own_space}:
            return
        if kind.verb == "CREATE":
            self._create(kind, existed=existed)
        elif kind.verb == "DROP":
            self._drop(kind)
        elif kind.verb == "RENAME":
            for old, new in kind.renames:
                if old:
                    self._alter((_bare(old), _bare(new)))
        elif kind.verb == "ALTER" and kind.object == "table":
            self._alter(tuple(map(_bare, kind.touched)))

    def claim(self, kind: str, name: str) -> None:
        """Count an object as made because version.json says so."""
        key = (_space(kind), name.lower())
        if name.lower() not in self._foreign and key not in self._owned:
            self._owned[key] = Owned(kind=kind, name=name)

    def _create(self, kind: StatementKind, *, existed: bool) -> None:
        what, name, table = kind.object, _bare(kind.target), _bare(kind.owner)
        if what not in _KINDS or not name or kind.temporary:
            return
        key = (_space(what), f"{table}.{name}".lower() if what == "index" else name.lower())
        if existed or (what in _HOLDERS and name.lower() in self._foreign):
            if what in _HOLDERS and key not in self._owned:
                self._foreign.add(name.lower())
            return
        self._owned[key] = Owned(kind=what, name=name, table=table)

    def _drop(self, kind: StatementKind) -> None:
        what = kind.object
        if what == "index":
            self._drop_index(_bare(kind.target), _bare(kind.owner))
            return
        for name in map(_bare, kind.touched):
            if self._owned.pop((_space(what), name.lower()), None) is None and what in _HOLDERS:
                self._foreign.add(name.lower())
            if what == "table":
                self._forget_parts(name)

    def _drop_index(self, name: str, table: str) -> None:
        """MySQL's indexes are distinguished by their tables, SQLite's by their names alone."""
        for key, owned in list(self._owned.items()):
            same_table = not table or owned.table.lower() == table.lower()
            if owned.kind == "index" and owned.name.lower() == name.lower() and same_table:
                del self._owned[key]

    def _forget_parts(self, table: str) -> None:
        """Its indexes and triggers went with it."""
        for key, owned in list(self._owned.items()):
            if owned.table.lower() == table.lower() and owned.table:
                del self._owned[key]

    def _alter(self, names: tuple[str, ...]) -> None:
        """The table's name, and after a rename its new one."""
        old, new = names[0], names[-1]
        key = self._key(old)
        if key is None:
            self._foreign |= {old.lower(), new.lower()}
            return
        if len(names) == 1:
            return
        owned = self._owned.pop(key)
        if new.lower() not in self._foreign:
            self._owned[(key[0], new.lower())] = Owned(kind=owned.kind, name=new)
        for other, part in list(self._owned.items()):
            if part.table.lower() == old.lower():
                self._owned[other] = msgspec.structs.replace(part, table=new)

    def _key(self, name: str) -> tuple[str, str] | None:
        key = (_space("table"), name.lower())
        return key if key in self._owned else None


def _space(kind: str) -> str:
    """Tables, views and sequences share one name space."""
    return "table" if kind in _HOLDERS else kind


def _bare(name: str) -> str:
    """A qualified name without its qualifier."""
    return name.rpartition(".")[2]


def fold_section(
    ownership: Ownership, section: Section, *, skipped: Iterable[int], existed: Iterable[int]
) -> None:
    """Take a bound section's steps in; `skipped` and `existed` are step numbers."""
    left_out, there = frozenset(skipped), frozenset(existed)
    for step in section.steps:
        if step.number not in left_out:
            ownership.step(step.readable, existed=step.number in there)


def claim_manifest(
    ownership: Ownership, migration: Migration, variables: Mapping[str, str]
) -> None:
    """Take in what version.json calls created."""
    for kind, name in manifest_names(migration, variables):
        ownership.claim(kind, name)


def manifest_names(
    migration: Migration, variables: Mapping[str, str]
) -> tuple[tuple[Holder, str], ...]:
    """(kind, live name) of version.json's tables_created and views_created for a bound migration.

    A name is meant without the tenant's prefix unless it has it, holds a
    placeholder, or a statement of the migration creates it just so.
    """
    said: list[tuple[Holder, str]] = [("table", name) for name in migration.manifest.tables_created]
    said += [("view", name) for name in migration.manifest.views_created]
    if not said:
        return ()
    made = _created_names(migration.up.steps, migration.dialect)
    return tuple((kind, _live(name, variables, made)) for kind, name in said)


def _created_names(steps: Iterable[Step], dialect: DialectName) -> frozenset[str]:
    kinds = [dialect_of(dialect).classify(step.readable) for step in steps]
    return frozenset(_bare(kind.target).lower() for kind in kinds if kind.verb == "CREATE")


def _live(name: str, variables: Mapping[str, str], made: frozenset[str]) -> str:
    bound = bind_text(name, variables)
    prefix = variables.get("prefix", "")
    if bound != name or not prefix or bound.startswith(prefix):
        return bound
    prefixed = prefix + bound
    return bound if bound.lower() in made and prefixed.lower() not in made else prefixed


def created_checks(migration: Migration, variables: Mapping[str, str]) -> tuple[Check, ...]:
    """The checks that hold a bound migration to version.json's tables_created and views_created."""
    file = str(PurePath(migration.path).with_name("version.json"))
    return tuple(
        Check(
            name=f"{kind} {name} was created",
            sql=dialect_of(migration.dialect).existence_query(kind, name),
            file=file,
            line=0,
            placeholders=False,
        )
        for kind, name in manifest_names(migration, variables)
    )
