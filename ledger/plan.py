"""What a run would do, decided before anything is touched.

Pure: a plan is a function of what is applied, of the migrations on disk and of
the options. Equal applied sets are one object (projections.py), so that a plan
is computed once for all tenants that stand alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.wording import because
from ledger.errors import (
    ChecksumMismatchError,
    EmptyMigrationError,
    LedgerError,
    OutOfOrderError,
    ScriptError,
    UnfinishedError,
    UsageError,
)
from ledger.events import MigrationRef
from ledger.projections import Applied, Half, TenantState
from ledger.scripts.model import Migration, MigrationSet

State = Literal[
    "current",
    "pending",
    "running",
    "failed",
    "in_doubt",
    "drifted",
    "regressed",
    "unreachable",
    "foreign",
    "new",
]


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The sets that a group of tenants follows. `order` lists all their migrations as they apply."""

    sets: tuple[MigrationSet, ...]
    order: tuple[Migration, ...]

    def find(self, version: str, *, set_name: str | None = None) -> Migration | None:
        """The migration `VERSION` or `SET/VERSION` names. Raises UsageError if two sets have it."""
        wanted_set, _, wanted = version.rpartition("/")
        wanted_set = wanted_set or set_name or ""
        found = [
            one
            for one in self.order
            if one.ref.version == wanted and (not wanted_set or one.ref.set == wanted_set)
        ]
        if len(found) > 1:
            names = ", ".join(one.id for one in found)
            raise UsageError(
                f"version {version} is in more than one set ({names})",
                hint="Name it as SET/VERSION.",
            )
        return found[0] if found else None


def without_file(applied: Applied, catalogue: Catalogue) -> tuple[str, ...]:
    """Applied migrations that no file of the catalogue's sets describes any more, as they were applied."""
    known = {(one.ref.set, one.ref.version) for one in catalogue.order}
    return tuple(
        f"{ref.set}/{ref.version}" for ref in applied if (ref.set, ref.version) not in known
    )


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
            others = tuple(one.id for one in pending[saved:number])
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
    pending = tuple(one for one in wanted if (one.ref.set, one.ref.version) not in have)
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


def unfinished(state: TenantState, pending: Sequence[Migration]) -> tuple[Half, ...]:
    """The migrations that have (perhaps) landed in part and that none of `pending` brings to its end."""
    halves = in_middle(state)
    if not halves:
        return ()
    coming = {one.id for one in pending}
    return tuple(half for half in halves if half.id not in coming)


def in_middle(state: TenantState) -> tuple[Half, ...]:
    """What has landed in part, and what was begun under a claim that has no end: that may have."""
    halves = state.halves
    begun, claim = state.begun, state.claim
    if begun is None or claim is None or claim.command != "migrate":
        return halves
    name = f"{begun.set}/{begun.version}"
    if claim.migration != name or any(half.id == name for half in halves):
        return halves
    return (*halves, Half(ref=begun, of=state.begun_steps))


def standing(state: TenantState) -> Applied:
    """What can be undone, oldest first: what is applied, and after it what has (perhaps) landed in part."""
    halves = in_middle(state)
    if not halves:
        return state.applied
    have = {(ref.set, ref.version) for ref in state.applied}
    more = (half.ref for half in halves if (half.ref.set, half.ref.version) not in have)
    return (*state.applied, *more)


def half_text(half: Half) -> str:
    """How far it has come."""
    steps = ", ".join(map(str, half.applied))
    of = f" of {half.of}" if half.of else ""
    if not steps and half.intent is None:
        return "it was begun by a run that has no end, and may have landed in part"
    if not steps:
        return f"a step of it was begun and has no end{of and f' ({half.of} in all)'}"
    what = f"step {steps}" if len(half.applied) == 1 else f"steps {steps}"
    return f"it has landed in part ({what}{of})"


def unfinished_problem(halves: Sequence[Half], catalogue: Catalogue) -> UnfinishedError:
    """What to say of a tenant that holds a part of a migration which is not to run."""
    half = halves[0]
    more = "".join(f"; so has {one.id}" for one in halves[1:])
    text = half_text(half)
    there = next((one for one in catalogue.order if one.id == half.id), None)
    undo = f"undo it with `ledger rollback {half.id} --tenant NAME`"
    if there is not None:
        return UnfinishedError(
            f"{text}, and this run would not bring it to its end{more}",
            migration=half.id,
            file=there.path,
            hint=f"Run `ledger migrate --tenant NAME` without --to, or {undo}.",
        )
    same = next((one for one in catalogue.order if one.ref.checksum == half.ref.checksum), None)
    where = f"; {same.path} has its text" if same is not None else ""
    return UnfinishedError(
        f"{text}, and no file describes it any more{where}{more}",
        migration=half.id,
        hint=f"Put the file back as {half.ref.version}_{half.ref.name}.sql in the set"
        f" {half.ref.set} and run `ledger migrate --tenant NAME`, or {undo}.",
    )


def _edited(
    have: Mapping[tuple[str, str], MigrationRef], order: Iterable[Migration]
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
                hint="Put the file back as it was and write the change as a new migration.",
            )
    return None


def up_to(catalogue: Catalogue, to: str | None) -> list[Migration]:
    """The migrations that `to` asks for, with what they depend on, in order; all without it.

    Raises UsageError if it names none.
    """
    caps: dict[str, tuple[int, ...]] = {}
    for one_set in catalogue.sets:
        if one_set.target is not None:
            target = catalogue.find(one_set.target, set_name=one_set.name)
            if target is not None:
                caps[one_set.name] = target.key
    if to is None:
        return [one for one in catalogue.order if _within(one, caps)]
    goal = catalogue.find(to)
    if goal is None:
        raise UsageError(
            f"no migration has version {to}",
            hint="Available: " + (", ".join(one.id for one in catalogue.order) or "none") + ".",
        )
    caps = {one_set.name: () for one_set in catalogue.sets} | {goal.ref.set: goal.key}
    chosen = {one.id for one in catalogue.order if _within(one, caps)}
    for one in reversed(catalogue.order):
        if one.id in chosen:
            chosen.update(f"{name}/{version}" for name, version in one.depends)
    return [one for one in catalogue.order if one.id in chosen]


def others(catalogues: Mapping[str, Catalogue], to: str | None) -> tuple[str, ...]:
    """The tenants (the keys) whose sets have no migration `to`: there is nothing to do for them.

    Raises UsageError if none of the catalogues has it, or if one has it twice.
    """
    if to is None:
        return ()
    has = {id(one): one.find(to) is not None for one in catalogues.values()}
    if has and not any(has.values()):
        known = {one.id: None for each in catalogues.values() for one in each.order}
        raise UsageError(
            f"no migration has version {to}",
            hint="Available: " + (", ".join(known) or "none") + ".",
        )
    return tuple(name for name, one in catalogues.items() if not has[id(one)])


def _within(migration: Migration, caps: Mapping[str, tuple[int, ...]]) -> bool:
    cap = caps.get(migration.ref.set)
    return cap is None or migration.key <= cap


def _late(
    pending: Sequence[Migration],
    have: Mapping[tuple[str, str], MigrationRef],
    catalogue: Catalogue,
) -> list[tuple[Migration, Migration]]:
    """Pending migrations that are lower than an applied one of their set, with that one.

    A migration that an applied one was ordered before only by a dependency is not late.
    """
    highest: dict[str, Migration] = {}
    for one in catalogue.order:
        if (one.ref.set, one.ref.version) in have:
            best = highest.get(one.ref.set)
            if best is None or one.key > best.key:
                highest[one.ref.set] = one
    return [
        (one, highest[one.ref.set])
        for one in pending
        if one.ref.set in highest and one.key < highest[one.ref.set].key
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
    for one in pending:
        for need in one.depends:
            if need not in coming:
                return ScriptError(
                    f"depends on {need[0]}/{need[1]}, which this tenant neither has nor follows",
                    migration=one.id,
                    file=one.path,
                    hint=f"Add the set {need[0]} to the tenant's migrations, or raise --to.",
                )
        coming.add((one.ref.set, one.ref.version))
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


def decide_rollback(
    applied: Applied,
    migrations: Mapping[tuple[str, str], Migration],
    *,
    version: str | None = None,
    to: str | None = None,
    only: frozenset[tuple[str, str]] | None = None,
) -> tuple[MigrationRef, ...]:
    """What to undo, newest first; nothing for a version that is not applied.

    `version` names one migration, `to` the one that stays the newest of its set
    (`0` for none), `only` the ones a run applied; with none of them it is the
    last one applied. Raises UsageError for a version that two sets have, and for
    a migration that another applied one depends on.
    """
    newest_first = tuple(reversed(applied))
    if only is not None:
        chosen = [ref for ref in newest_first if (ref.set, ref.version) in only]
    elif version is not None:
        chosen = _applied_refs(applied, version)
    elif to == "0":
        chosen = list(newest_first)
    elif to is not None:
        chosen = []
        for goal in _applied_refs(applied, to):
            after = applied[applied.index(goal) + 1 :]
            chosen = [ref for ref in reversed(after) if ref.set == goal.set]
    else:
        chosen = list(newest_first[:1])
    _refuse_needed(applied, chosen, migrations)
    return tuple(chosen)


def _applied_refs(applied: Applied, version: str) -> list[MigrationRef]:
    """The applied migration with this VERSION or SET/VERSION, or none."""
    set_name, _, wanted = version.rpartition("/")
    found = [
        ref for ref in applied if ref.version == wanted and (not set_name or ref.set == set_name)
    ]
    if len(found) > 1:
        raise UsageError(
            f"version {version} is in more than one set", hint="Name it as SET/VERSION."
        )
    return found


def _refuse_needed(
    applied: Applied,
    chosen: Sequence[MigrationRef],
    migrations: Mapping[tuple[str, str], Migration],
) -> None:
    gone = {(ref.set, ref.version) for ref in chosen}
    for ref in applied:
        key = (ref.set, ref.version)
        migration = migrations.get(key)
        if migration is None or key in gone:
            continue
        needed = [need for need in migration.depends if need in gone]
        if needed:
            name = "/".join(needed[0])
            raise UsageError(
                f"{name} cannot be undone alone: {ref.set}/{ref.version} depends on it",
                hint=f"Undo {ref.set}/{ref.version} first, or use --to.",
            )


def unsettled(tenant: TenantState) -> bool:
    """Whether the last command on it may stand in its middle, or have left something behind."""
    failed = tenant.failure is not None or tenant.claim is not None
    return failed or tenant.intent is not None or bool(tenant.landed) or bool(tenant.left)


UNDOING: Final = frozenset({"rollback", "restore", "reset"})
"""Commands after which, where one was killed, a tenant may hold less than its version says."""


def interrupted(tenant: TenantState) -> bool:
    """Whether such a command was begun and has no end, though nobody is at work any more.

    Only for a tenant without a living claim.
    """
    return tenant.claim is not None and tenant.claim.command in UNDOING


def state_name(
    tenant: TenantState, *, pending: bool, running: bool, unfinished: bool = False
) -> State:
    """The one word of docs/interface.md for where a tenant stands.

    `unfinished`: it holds a part of a migration that no run brings to its end.
    """
    if running:
        return "running"
    failure = tenant.failure
    if failure is not None and failure.in_doubt:
        return "in_doubt"
    if tenant.skipped == "unreachable":
        return "unreachable"
    if tenant.drift == "regressed":
        return "regressed"
    if failure is not None or unfinished or interrupted(tenant):
        return "failed"
    if tenant.drift:
        return "drifted"
    if tenant.version == 0:
        return "new"
    return "pending" if pending else "current"
