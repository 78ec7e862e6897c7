"""What the steps of a section need of each other through their connection. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from ledger.dialects.base import Doubt
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.connection import SEEDS, uses
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.statements import classify
from ledger.dialects.steps import Check, Step


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
    texts = [step.readable for step in steps] + [check.sql for check in checks]
    found = [uses(text) for text in texts]
    secret = {name for step in steps if step.secret for name in uses(step.readable).variables}
    asked = [(read.what, read.of) for use in found for read in use.reads]
    return Needs(
        variables=frozenset(name for use in found for name in use.variables) - secret,
        found=unknown
        or any(what == "found" for what, _ in asked)
        or any(use.executes for use in found),
        insert_id=unknown or any(use.insert_id or use.opaque for use in found),
        sequences=frozenset(of for what, of in asked if what == "sequence"),
        opaque=unknown or any(use.opaque for use in found),
    )


def doubts(steps: Sequence[Step]) -> Iterator[Doubt]:
    """The steps at which a crash could not be settled: those in doubt themselves, then those that read
    what is lost with their connection.

    A `redo-safe` or `verify-step` directive settles a step.
    """
    for step in steps:
        kind = _kind(step.readable)
        if not (kind.settleable or kind.redo_safe or step.redo_safe or step.verify_step):
            yield Doubt(step, unsettled=kind.unsettled)
    seeded = False
    for before, step in zip((None, *steps), steps, strict=False):
        own = uses(step.readable)
        if own.stored:
            continue
        if before is not None and own.reads_last and not _lands_with_its_count(before):
            yield Doubt(step, lost="count")
        if own.random and seeded:
            yield Doubt(step, lost="random")
        seeded = seeded or any(setting.name in SEEDS for setting in own.settings)


@lru_cache(maxsize=4096)
def _kind(sql: str) -> StatementKind:
    """The statement's kind; each tenant of a fleet has the same ones pending."""
    return classify(sql, SYNTAX)


def _lands_with_its_count(step: Step) -> bool:
    """Whether the marker is written together with the step: then its count is in it."""
    kind = _kind(step.readable)
    return kind.kind in ("dml", "query", "session", "transaction") and kind.settleable
