"""Lint rules of MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ledger.dialects.base import Equip
from ledger.dialects.findings import Finding, finding_at
from ledger.dialects.mysql.needs import doubts
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.statements import classify
from ledger.dialects.steps import Section, Step
from ledger.dialects.wording import because, label, reason


def findings(
    up: Section,
    down: Section | None,
    sync: Sequence[Step],
    *,
    bound: bool,
    equip: Equip | None = None,
) -> Iterator[Finding]:
    """What the rules find in a migration's sections."""
    for section in (up, down):
        yield from _not_atomic(section.steps if section else ())
    yield from _needs_scratch(sync)


def _not_atomic(steps: Sequence[Step]) -> Iterator[Finding]:
    """A crash inside, or just before, cannot be settled by looking at the tenant."""
    for doubt in doubts(steps):
        if doubt.lost:
            yield finding_at(
                doubt.step,
                "connection",
                "warning",
                f"{doubt.step.name}: a crash just before it could not be gone on from"
                f" ({because(doubt.lost)})",
                "Ask the tables instead of the connection, where that is possible.",
            )
        else:
            kind = classify(doubt.step.sql, SYNTAX)
            yield finding_at(
                doubt.step,
                "not-atomic",
                "warning",
                f"{label(kind)}: a crash here could not be settled ({reason(kind)})",
                "Add `-- verify-step: SELECT …`, or `-- redo-safe` if running it twice does no harm.",
            )


def _needs_scratch(sync: Sequence[Step]) -> Iterator[Finding]:
    """Tables that are there already are compared in a database beside the tenant's."""
    for step in sync[:1]:
        yield finding_at(
            step,
            "scratch-database",
            "warning",
            "migrate:sync compares tables that a tenant already has in a database ledger_scratch_… beside"
            " it, or, if they have no FULLTEXT index, partitions or column's REFERENCES, in temporary tables:"
            " the account has to be allowed to make the one or the other",
            "`ledger doctor` says whether it is. Without that right, write ALTER TABLE into -- migrate:up.",
        )
