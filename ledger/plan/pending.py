"""What a migrate would do, decided before anything is touched.

Pure: a decision is a function of what is applied, of the migrations on disk and of
the options. Equal applied sets are one object (`projections/applied.py`), so that a decision
is taken once for all tenants that stand alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.wording import because
from ledger.errors import (
    ChecksumMismatchError,
    EmptyMigrationError,
    LedgerError,
    OutOfOrderError,
    ScriptError,
)
from ledger.events import MigrationRef
from ledger.plan.catalogue import Catalogue, up_to
from ledger.projections import Applied
from ledger.scripts.model import Migration


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller asked for. `to` is VERSION or SET/VERSION."""

    to: str | None = None
    out_of_order: bool = False
    strict: bool = False


class Undo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rollback will be able to do once a pending migration is applied.

    `script`: its down steps. `backup`: the backup of the run, which undoes `others` too, as
    it is from before them. `none`: this run makes no way back.
    """

    how: Literal["script", "backup", "none"]
    others: tuple[str, ...] = ()


def how_undone(
    pending: Sequence[Migration], asks: Callable[[Migration], bool], *, each: bool
) -> tuple[Undo, ...]:
    """For each of `pending`, in order. `asks` says whether a migration asks for a backup, `each` that
    every one of those gets its own and not only the first."""
    found: list[Undo] = []
    saved: int | None = None
    for number, migration in enumerate(pending):
        if asks(migration) and (each or saved is None):
            saved = number
        if migration.undoes:
            found.append(Undo(how="script"))
        elif saved is None:
            found.append(Undo(how="none"))
        else:
            others = tuple(migration.id for migration in pending[saved:number])
            found.append(Undo(how="backup", others=others))
    return tuple(found)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for tenants that stand alike.

    `problem` refuses the tenant before anything is touched; `warnings` do not.
    """

    pending: tuple[Migration, ...] = ()
    problem: LedgerError | None = None
    warnings: tuple[str, ...] = ()


def decide(applied: Applied, catalogue: Catalogue, options: Options) -> Decision:
    """The pending migrations, in order, or the reason why nothing may run.

    Raises UsageError if `to` names no migration.
    """
    have = {(ref.set, ref.version): ref for ref in applied}
    edited = _edited(have, catalogue.order)
    if edited is not None:
        return Decision(problem=edited)
    wanted = up_to(catalogue, options.to)
    pending = tuple(
        migration for migration in wanted if (migration.ref.set, migration.ref.version) not in have
    )
    late = _late(pending, have, catalogue)
    if late and not options.out_of_order:
        return Decision(problem=_late_problem(late))
    problem = _empty(pending) or _missing_dependency(pending, have)
    if problem is not None:
        return Decision(problem=problem)
    warnings = _unsettleable(pending, catalogue)
    if warnings and options.strict:
        return Decision(problem=_strict_problem(warnings))
    return Decision(pending=pending, warnings=warnings)


def _empty(pending: Iterable[Migration]) -> EmptyMigrationError | None:
    for migration in pending:
        if not migration.has_steps and not migration.no_steps:
            return EmptyMigrationError(
                "has no step",
                migration=migration.id,
                file=migration.path,
                hint="Write its statements, or, if it is meant to have none, -- no-steps: WHY.",
            )
    return None


def _edited(
    have: Mapping[tuple[str, str], MigrationRef], order: Sequence[Migration]
) -> ChecksumMismatchError | None:
    for migration in order:
        ref = have.get((migration.ref.set, migration.ref.version))
        if (
            ref is not None
            and ref.algorithm == migration.ref.algorithm
            and ref.checksum != migration.ref.checksum
        ):
            return ChecksumMismatchError(
                f"was edited after it ran: applied with {ref.algorithm} {ref.checksum},"
                f" the file now has {migration.ref.checksum}",
                migration=migration.id,
                file=migration.path,
                hint="Put the file back as it was and write the change as a new migration."
                + _counted_anew(have, order),
            )
    return None


def _counted_anew(have: Mapping[tuple[str, str], MigrationRef], order: Sequence[Migration]) -> str:
    """What to type where the file has to change; nothing where other sets would be counted anew too."""
    if len({set_name for set_name, _ in have}) > 1:
        return ""
    last = [one.id for one in order if one.ref.key in have][-1]
    return (
        " If it has to change (another tool's section mark stands in it), count it anew as it is now, which"
        " runs nothing: `ledger reset --tenant NAME --mark-only --to 0`, then"
        f" `ledger baseline --tenant NAME --to {last}`."
    )


def _late(
    pending: Sequence[Migration],
    have: Mapping[tuple[str, str], MigrationRef],
    catalogue: Catalogue,
) -> list[tuple[Migration, Migration]]:
    """Pending migrations that are lower than an applied one of their set, with that one.

    A migration that an applied one was ordered before only by a dependency is not late.
    """
    highest: dict[str, Migration] = {}
    for migration in catalogue.order:
        if (migration.ref.set, migration.ref.version) in have:
            best = highest.get(migration.ref.set)
            if best is None or migration.key > best.key:
                highest[migration.ref.set] = migration
    return [
        (migration, highest[migration.ref.set])
        for migration in pending
        if migration.ref.set in highest and migration.key < highest[migration.ref.set].key
    ]


def _late_problem(late: Sequence[tuple[Migration, Migration]]) -> OutOfOrderError:
    migration, above = late[0]
    more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
    return OutOfOrderError(
        f"comes late: {above.ref.version} of the same set is already applied{more}",
        migration=migration.id,
        file=migration.path,
        hint="Give it a higher version, or apply it all the same with --out-of-order.",
    )


def _missing_dependency(
    pending: Sequence[Migration], have: Mapping[tuple[str, str], MigrationRef]
) -> ScriptError | None:
    coming = set(have)
    for migration in pending:
        for need in migration.depends:
            if need not in coming:
                return ScriptError(
                    f"depends on {need[0]}/{need[1]}, which this tenant neither has nor follows",
                    migration=migration.id,
                    file=migration.path,
                    hint=f"Add the set {need[0]} to the tenant's migrations, or raise --to.",
                )
        coming.add((migration.ref.set, migration.ref.version))
    return None


def _unsettleable(pending: Sequence[Migration], catalogue: Catalogue) -> tuple[str, ...]:
    """`file:line: why` for each step at which a crash could not be settled."""
    dialects = {each.name: dialect_of(each.dialect) for each in catalogue.sets}
    return tuple(
        f"{doubt.step.file}:{doubt.step.line}: {doubt.step.name}: {because(doubt.unsettled or doubt.lost)}"
        for migration in pending
        for doubt in dialects[migration.ref.set].doubts(migration.up.steps)
    )


def _strict_problem(warnings: Sequence[str]) -> ScriptError:
    more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
    return ScriptError(
        f"could not be settled after a crash: {warnings[0]}{more}",
        hint="Write `-- verify-step: SELECT …` or `-- redo-safe` before the statement, or split it;"
        " or set strict = false.",
    )
