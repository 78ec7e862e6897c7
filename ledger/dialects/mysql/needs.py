"""What the steps of a section need of each other through their connection. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ledger.dialects.mysql.connection import SEEDS, uses
from ledger.dialects.statements import classify
from ledger.dialects.steps import Check, Step

Lost = Literal["count", "random"]
"""What a step reads of its connection that a crash just before it loses; in words: wording.py."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What some step of a section asks of the ones before it that is not simply kept.

    `variables` are all that it names, those of secret steps apart. `found`: FOUND_ROWS();
    `insert_id`: LAST_INSERT_ID(); `sequences` are those whose last value is asked for, as
    they are quoted; `opaque`: some code's text is not in it.
    """

    variables: frozenset[str] = frozenset()
    found: bool = False
    insert_id: bool = False
    sequences: frozenset[str] = frozenset()
    opaque: bool = False


def needs(steps: Sequence[Step], checks: Sequence[Check] = (), *, unknown: bool = False) -> Needs:
    """The needs of these steps and checks. `unknown`: the steps are not known beforehand."""
    found = [uses(one.sql) for one in steps] + [uses(one.sql) for one in checks]
    secret = {name for one in steps if one.secret for name in uses(one.sql).variables}
    asked = [(two.what, two.of) for one in found for two in one.reads]
    return Needs(
        variables=frozenset(name for one in found for name in one.variables) - secret,
        found=unknown
        or any(what == "found" for what, _ in asked)
        or any(one.executes for one in found),
        insert_id=unknown or any(one.insert_id or one.opaque for one in found),
        sequences=frozenset(of for what, of in asked if what == "sequence"),
        opaque=unknown or any(one.opaque for one in found),
    )


def breakable(steps: Sequence[Step]) -> Iterator[tuple[Step, Lost]]:
    """Steps that could not go on if the run ended just before them, and what would be lost."""
    seeded = False
    for before, step in zip((None, *steps), steps, strict=False):
        own = uses(step.sql)
        if own.stored:
            continue
        if before is not None and own.reads_last and not _lands_with_its_count(before):
            yield step, "count"
        if own.random and seeded:
            yield step, "random"
        seeded = seeded or any(one.name in SEEDS for one in own.settings)


def _lands_with_its_count(step: Step) -> bool:
    """Whether the marker is written together with the step: then its count is in it."""
    kind = classify(step.sql, "mysql")
    return kind.kind in ("dml", "query", "session", "transaction") and kind.settleable
