"""What a migration creates, by its statements and by its version.json.

Invariant: only what a migration itself made is called its own; what was there
before it (altered, dropped and made again, or found by IF NOT EXISTS) is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Final, Literal

import msgspec

from ledger.dialects import DialectName, dialect_of
from ledger.dialects.base import Dialect, Holder
from ledger.dialects.kinds import StatementKind
from ledger.dialects.steps import Check, Section, Step
from ledger.events import ObjectEffect
from ledger.scripts.model import Migration
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
_UNREADABLE: Final = ("unknown", "compound", "prepared", "call")
"""What the text of such a statement does is not known; see kinds.Unsettled."""


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
        """Take a statement in that ran. `existed`: its IF NOT EXISTS found the object there."""
        kind = self._dialect.classify(sql)
        for effect in effects_of(kind, self._dialect, existed=existed) or ():
            self.take(effect)

    def take(self, effect: ObjectEffect) -> None:
        """Take in what a statement did to one object."""
        match effect.did:
            case "made" | "found":
                self._create(effect)
            case "dropped":
                self._drop(effect)
            case "renamed":
                self._alter(effect.name, effect.new)
            case "changed":
                self._alter(effect.name, effect.name)

    def claim(self, kind: str, name: str) -> None:
        """Count an object as made because version.json says so."""
        key = (_space(kind), name.lower())
        if name.lower() not in self._foreign and key not in self._owned:
            self._owned[key] = Owned(kind=kind, name=name)

    def _create(self, effect: ObjectEffect) -> None:
        what, name, table = effect.kind, effect.name, effect.table
        key = (_space(what), f"{table}.{name}".lower() if what == "index" else name.lower())
        if effect.did == "found" or (what in _HOLDERS and name.lower() in self._foreign):
            if what in _HOLDERS and key not in self._owned:
                self._foreign.add(name.lower())
            return
        self._owned[key] = Owned(kind=what, name=name, table=table)

    def _drop(self, effect: ObjectEffect) -> None:
        what, name = effect.kind, effect.name
        if what == "index":
            self._drop_index(name, effect.table)
            return
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

    def _alter(self, old: str, new: str) -> None:
        """A change of the table, and its name before and after it."""
        key = self._key(old)
        if key is None:
            self._foreign |= {old.lower(), new.lower()}
            return
        if new == old:
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


def effects_of(
    kind: StatementKind, dialect: Dialect, *, existed: bool = False
) -> tuple[ObjectEffect, ...] | None:
    """What a statement does to the tenant's objects; None where its text does not show it.

    `existed`: what it creates was there. What is in another database, and what ends with the
    session, is nobody's here.
    """
    if kind.unsettled in _UNREADABLE:
        return None
    spaces = {name.rpartition(".")[0].lower() for name in (kind.target, *kind.touched)}
    if kind.kind != "ddl" or spaces - {"", dialect.own_space}:
        return ()
    what, owner = kind.object, _bare(kind.owner)
    names = tuple(map(_bare, kind.touched))
    found: list[ObjectEffect] = []
    if kind.verb == "CREATE":
        if what in _KINDS and kind.target and not kind.temporary:
            did: Literal["made", "found"] = "found" if existed else "made"
            found += [ObjectEffect(did=did, kind=what, name=_bare(kind.target), table=owner)]
    elif kind.verb == "DROP":
        dropped = (_bare(kind.target),) if what == "index" else names
        found += [
            ObjectEffect(did="dropped", kind=what, name=name, table=owner) for name in dropped
        ]
    elif kind.verb == "RENAME":
        pairs = [(_bare(old), _bare(new)) for old, new in kind.renames if old]
        found += [
            ObjectEffect(did="renamed", kind="table", name=old, new=new) for old, new in pairs
        ]
    elif kind.verb == "ALTER" and what == "table" and len(names) == 1:
        found += [ObjectEffect(did="changed", kind="table", name=names[0])]
    elif kind.verb == "ALTER" and what == "table":
        found += [ObjectEffect(did="renamed", kind="table", name=names[0], new=names[-1])]
    return tuple(found)


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
    """Take in what version.json calls created, of a migration whose text does not show it all."""
    classify = dialect_of(migration.dialect).classify
    steps = (*migration.up.steps, *migration.sync)
    if steps and all(classify(step.readable).unsettled not in _UNREADABLE for step in steps):
        return
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
