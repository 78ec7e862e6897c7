"""What may be wrong with migration files, found without a tenant.

Pure: migrations in, findings out. A finding says what would happen; whether that
is meant is the author's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ledger.dialects import dialect_of
from ledger.dialects.base import Equip
from ledger.dialects.findings import Finding, Severity, finding_at
from ledger.dialects.wording import label
from ledger.scripts.model import Migration, MigrationSet
from ledger.scripts.placeholders import bind, unknown_placeholders

__all__ = ["Finding", "Severity", "lint_set"]

Rule = Callable[[Migration], Iterator[Finding]]


def lint_set(
    migration_set: MigrationSet, variables: Mapping[str, str], *, equip: Equip | None = None
) -> list[Finding]:
    """All findings of a set, by file and line. `variables` are what its placeholders stand for.

    `equip` gives a connection what its tenants' application gives it.
    """
    found: list[Finding] = []
    for migration in migration_set.migrations:
        unknown = list(_unknown_placeholder(migration, variables))
        found += unknown
        bound = (
            migration
            if unknown or migration.manifest.bound_checksum
            else bind(migration, variables)
        )
        for rule in RULES:
            found += rule(bound)
        found += dialect_of(bound.dialect).lint(
            bound.up, bound.down, bound.sync, bound=not unknown, equip=equip
        )
    return sorted(set(found), key=lambda each: (each.file, each.line, each.rule))


def _unknown_placeholder(migration: Migration, names: Mapping[str, str]) -> Iterator[Finding]:
    for unknown in unknown_placeholders(migration, names):
        yield Finding(
            rule="unknown-placeholder",
            severity="error",
            file=unknown.file,
            line=unknown.line,
            message=f"unknown placeholder {{{unknown.name}}}",
            hint="Add it to `variables`, or write `-- placeholders: off` in a file that means its braces.",
        )


def _destructive(migration: Migration) -> Iterator[Finding]:
    """Statements that drop data, in the up part; a down part is there to drop."""
    dialect = dialect_of(migration.dialect)
    rebuilt = dialect.rebuilt_tables(migration.up.steps)
    for step in migration.up.steps:
        kind = dialect.classify(step.readable)
        if kind.destructive and kind.target.lower() not in rebuilt:
            yield finding_at(
                step,
                "destructive",
                "warning",
                f"{label(kind)} loses data",
                'Take a backup (backup = "auto" does for this migration), and check that nothing reads it.',
            )


def _missing_down(migration: Migration) -> Iterator[Finding]:
    if not migration.undoes:
        yield Finding(
            rule="missing-down",
            severity="warning",
            file=migration.path,
            line=1,
            message="it has no down part: it can be undone from a backup only",
            hint="Add a `-- migrate:down` section.",
        )


def _empty(migration: Migration) -> Iterator[Finding]:
    """What a run refuses: nobody can tell it from a file that was never written to its end."""
    if not migration.has_steps and not migration.no_steps:
        yield Finding(
            rule="empty",
            severity="error",
            file=migration.path,
            line=1,
            message="it has no step",
            hint="Write its statements, or, if it is meant to have none, -- no-steps: WHY.",
        )


RULES: Final[tuple[Rule, ...]] = (_destructive, _missing_down, _empty)
"""The rules of all databases; those of one are its dialect's."""
