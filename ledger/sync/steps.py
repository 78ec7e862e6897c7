"""What a section sync comes to on one tenant, the same on every engine: numbered steps, and what stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ledger.dialects.base import Dialect
from ledger.dialects.steps import Step, sha256_hex
from ledger.events import Change, Part
from ledger.scripts.effects import readable_effects


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync section comes to on one tenant: the statements it lacks, and what they leave different."""

    steps: tuple[Step, ...] = ()
    drift: tuple[Change, ...] = ()


class Statement(NamedTuple):
    """A statement that the tenant lacks, and the step of the section that it comes from."""

    name: str
    sql: str
    step: Step


def table_of(step: Step, dialect: Dialect) -> str:
    """The table that a statement of the section is about, in small letters; empty for none."""
    kind = dialect.classify(step.readable)
    return (kind.touched[0] if kind.touched else kind.target).lower()


def missing_tables(
    steps: Iterable[Step], missing: Iterable[str], dialect: Dialect
) -> list[Statement]:
    """The section's own statements about the tables that are missing."""
    tables = {name.lower() for name in missing}
    return [
        Statement(f"Sync: {step.name}", step.sql, step)
        for step in steps
        if table_of(step, dialect) in tables
    ]


def numbered(
    statements: Sequence[Statement], drift: tuple[Change, ...], dialect: Dialect, *, after: int
) -> SyncPlan:
    """The statements as steps from `after` + 1 on, and the `drift` that they leave."""
    return SyncPlan(
        steps=tuple(
            msgspec.structs.replace(
                step,
                number=number,
                name=name,
                sql=sql,
                sha256=sha256_hex(sql),
                adds=_adds(sql, dialect) if sql != step.sql else (),
            )
            for number, (name, sql, step) in enumerate(statements, after + 1)
        ),
        drift=drift,
    )


def _adds(sql: str, dialect: Dialect) -> tuple[Part, ...]:
    """The columns and keys that a computed statement adds."""
    found, _ = readable_effects(dialect.classify(sql))
    return tuple(one.part for one in found if one.does == "makes")
