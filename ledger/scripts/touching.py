"""Which objects a migration's statements make and change, read from its text.

Names are neutral: what is written with `{prefix}` keeps it, so that one reading serves
all tenants of a fleet. Invariant: what a statement only reads is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ledger.dialects import DialectName, dialect_of
from ledger.dialects.steps import Step
from ledger.scripts.model import Migration
from ledger.scripts.placeholders import bind_text

PREFIX: Final = "{prefix}"
_STAND_IN: Final = "ledger_stand_in_for_the_prefix_"
"""Stands for the prefix while statements are read: braces are no part of a name."""


class Touched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Names of tables, views, routines …, without those of other databases.

    `made` are created where nothing may stand, `found` created unless they are there,
    `changed` altered, renamed, filled or dropped; `undone` is what down steps name.
    """

    made: frozenset[str] = frozenset()
    found: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    undone: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.made | self.found | self.changed | self.undone

    @property
    def altered(self) -> frozenset[str]:
        """What the up steps change, or take as it is, and did not make themselves."""
        return (self.changed | self.found) - self.made

    def __or__(self, other: Touched) -> Touched:
        """What both touch."""
        return Touched(
            made=self.made | other.made,
            found=self.found | other.found,
            changed=self.changed | other.changed,
            undone=self.undone | other.undone,
        )

    def of(self, prefix: str) -> Touched:
        """The same names as a tenant with this prefix has them."""

        def live(names: frozenset[str]) -> frozenset[str]:
            return frozenset(name.replace(PREFIX, prefix) for name in names)

        return Touched(
            made=live(self.made),
            found=live(self.found),
            changed=live(self.changed),
            undone=live(self.undone),
        )


def touched(steps: Iterable[Step], dialect: DialectName) -> Touched:
    """What bound up steps touch."""
    made: set[str] = set()
    found: set[str] = set()
    changed: set[str] = set()
    classify = dialect_of(dialect).classify
    for step in steps:
        kind = classify(step.readable)
        names = set(kind.touched)
        if kind.kind == "dml":
            names.add(kind.target)
        elif kind.kind != "ddl":
            continue
        if kind.verb == "CREATE" and kind.target in names:
            names.discard(kind.target)
            into = changed if kind.replaces else found if kind.guarded else made
            into.add(kind.target)
        changed |= names
    return Touched(made=_here(made), found=_here(found), changed=_here(changed))


def touched_by(migration: Migration, variables: Mapping[str, str]) -> Touched:
    """What a migration touches, with `{prefix}` left in; `variables` stand for the other placeholders."""
    stand_in = {**variables, "prefix": _STAND_IN}

    def bound(steps: Iterable[Step]) -> list[Step]:
        return [
            msgspec.structs.replace(step, sql=bind_text(step.sql, stand_in))
            if step.placeholders
            else step
            for step in steps
        ]

    up = touched(bound((*migration.up.steps, *migration.sync)), migration.dialect)
    down = migration.down.steps if migration.down is not None else ()
    said = {
        bind_text(name, stand_in)
        for name in (*migration.manifest.tables_created, *migration.manifest.views_created)
    }
    said |= {_STAND_IN + name for name in said if not name.startswith(_STAND_IN)}
    return Touched(
        made=_neutral(up.made),
        found=_neutral(up.found | said),
        changed=_neutral(up.changed),
        undone=_neutral(touched(bound(down), migration.dialect).names),
    )


def _here(names: set[str]) -> frozenset[str]:
    return frozenset(name for name in names if name and "." not in name)


def _neutral(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.replace(_STAND_IN, PREFIX) for name in names)
