"""Events of the steps of a migration."""

from __future__ import annotations

import re
from typing import Final, Literal, Protocol

import msgspec

from ledger.events.base import Direction, Event


class AheadStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step that makes `objects`, none of which is there, once the step before it has landed."""

    step: int
    statement: str
    objects: tuple[str, ...] = ()


class StepStarted(Event, frozen=True, kw_only=True, tag="step_started"):
    """The intent, durable before a statement whose effect cannot share a transaction with the marker.

    `before` is the fingerprint of the objects the statement touches. `ahead` are the
    steps that follow without an intent of their own. `bytes_before` is the tenant's size before the
    migration's first step, as long as its marker does not say so. `reached` is set for a step inside
    the file's own transaction: nothing from `step` on has landed unless that has committed, and
    `reached` is the step that is about to run, with this `statement`.
    """

    set: str
    version: str
    direction: Direction
    step: int
    statement: str
    before: str = ""
    objects: tuple[str, ...] = ()
    ahead: tuple[AheadStep, ...] = ()
    reached: int = 0
    connection_id: int = 0
    bytes_before: int | None = None


class ObjectEffect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a statement did to one object of the tenant, names as they are there.

    `found`: it creates the object unless it is there, and it was. `kind` is `table`, `view`, `index` …;
    `table` is that of an index or a trigger, `new` the name that a rename gave.
    """

    did: Literal["made", "found", "changed", "renamed", "dropped"]
    kind: str
    name: str
    table: str = ""
    new: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object, column or key of which a statement is one part. `kind`: table, view, column, key, trigger …;
    names are in small letters, `table` is that of a column or a key.
    """

    kind: str
    name: str
    table: str = ""


class StepApplied(Event, frozen=True, kw_only=True, tag="step_applied"):
    """A step's effect is durable in the tenant. `statement` is the SHA-256 of its text.

    `recovered` says that it was found done after a crash. `before` and `after`
    are fingerprints of the touched objects where the engine took them. `existed` says of a CREATE
    with IF NOT EXISTS or OR REPLACE whether the object was there before it. `effects` are a Python
    migration's, whose text no file keeps; None where the statement does not show them. `already` are the parts
    that the guards of a DROP, RENAME or ALTER left alone: they were there, or were not there. `made` are the columns
    and keys that a statement adds which was computed from a section sync. `rows_found` is how many rows, at least,
    an INSERT found there that it was to make.
    """

    set: str
    version: str
    direction: Direction
    step: int
    of: int
    name: str
    statement: str
    recovered: bool = False
    before: str = ""
    after: str = ""
    warnings: tuple[str, ...] = ()
    existed: bool | None = None
    effects: tuple[ObjectEffect, ...] | None = None
    already: tuple[Part, ...] = ()
    made: tuple[Part, ...] = ()
    rows_found: int | None = None
    duration_us: int = 0
    rows: int | None = None

    @property
    def found_existing(self) -> bool:
        """`existed`, also of a step that an older version recorded, in whose warnings alone it stands."""
        return found_existing(self)


class Existing(Protocol):
    """A step that says whether it found its object there."""

    @property
    def existed(self) -> bool | None:
        """As in StepApplied."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """As in StepApplied."""
        ...


def found_existing(step: Existing) -> bool:
    """What `existed` says; of a step that an older version did, what its warnings say."""
    if step.existed is not None:
        return step.existed
    return any(map(_OLD_EXISTED.match, step.warnings))


_OLD_EXISTED: Final = re.compile(
    r"Note (?:1050|1061|1304|1359|1537): |(?:table|view|index|trigger) .+ already exists\Z",
    re.DOTALL,
)
"""The notes of MySQL and MariaDB by their numbers, and what the engine for SQLite wrote itself."""


class StepSkipped(Event, frozen=True, kw_only=True, tag="step_skipped"):
    """A step's `skip-if` held, so that nothing was to do.

    `up_step` of a down step: the up step of its migration that was skipped or found its object
    there, so that there was nothing of it to undo.
    """

    set: str
    version: str
    direction: Direction
    step: int
    of: int
    name: str
    statement: str
    up_step: int | None = None
    reason: str
