"""How each migration of a tenant can be undone: by its down steps, or from a backup.

Invariant: no down step is chosen that would undo what the migration has not made on the tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.steps import Section
from ledger.engines.base import Engine, Target
from ledger.errors import RestoreError, ScriptError
from ledger.events import MigrationRef
from ledger.plan import Catalogue, half_text, in_middle, standing
from ledger.projections import Applied, Half
from ledger.runner.context import RunContext
from ledger.runner.kept import KeptBackup, backup_before, kept_backups, kept_migration
from ledger.runner.ran import Ran, what_ran
from ledger.scripts.model import Migration
from ledger.scripts.undoing import (
    FOUND,
    NotMade,
    Undecided,
    acted_on,
    keeps_what_it_finds,
    may_have_made_nothing,
    sparing,
    undoing,
    with_sync,
)

if TYPE_CHECKING:
    from ledger.requests import How


class WayBack(msgspec.Struct, frozen=True, kw_only=True):
    """How one migration is undone: by `script` (its bound down steps), or from `backup`.

    `unknown`: a run began it and has no end; the rollback looks first how far it has come.
    """

    ref: MigrationRef
    script: Migration | None = None
    backup: KeptBackup | None = None
    unknown: bool = False


async def ways_back(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    refs: Sequence[MigrationRef],
    by: How,
) -> list[WayBack]:
    """How each of `refs` (newest first) would be undone; what a backup undoes is not undone again.

    `auto` takes the down steps where a migration has them and its backup where it
    has none. Raises RestoreError where there is no way.
    """
    ways: list[WayBack] = []
    gone: set[tuple[str, str]] = set()
    for ref in refs:
        if ref.key in gone:
            continue
        way = await _way_back(ctx, engine, target, catalogue, ref, by)
        ways.append(way)
        if way.backup is not None:
            gone = also_undone(standing(ctx.state(target.name)), way.backup)
            if by == "auto":
                _refuse_more(target, way, gone - {ref.key for ref in refs})
    return ways


def also_undone(applied: Applied, kept: KeptBackup) -> set[tuple[str, str]]:
    """Everything applied that is not in the backup."""
    inside = {ref.key for ref in kept.backup.applied}
    return {ref.key for ref in applied if ref.key not in inside}


def _refuse_more(target: Target, way: WayBack, more: set[tuple[str, str]]) -> None:
    """A backup that would undo more than was asked for is used only when it is asked for by name."""
    if more:
        names = ", ".join(sorted("/".join(one) for one in more))
        raise RestoreError(
            f"has no down steps, and its backup would undo {names} too",
            tenant=target.name,
            migration=way.ref.id,
            hint="Roll those back as well with --to, or go back to the backup with --by backup."
            ' (backup = "each" keeps one before each migration.)',
        )


async def _way_back(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    ref: MigrationRef,
    by: How,
) -> WayBack:
    name = ref.id
    state = ctx.state(target.name)
    half = next((one for one in in_middle(state) if one.id == name), None)
    if half is not None and not half.landed and half.intent is None:
        return WayBack(ref=ref, unknown=True)
    if by != "backup" and (half is None or ref in state.applied):
        migration = await kept_migration(ctx, ref, engine.dialect, catalogue)
        if migration.path.endswith(".py") and migration.python is None:
            raise RestoreError(
                "the folder has not the Python file that ran: it was edited since, or is gone",
                tenant=target.name,
                migration=name,
                file=migration.path,
                hint="Put the file back as it was, or roll back with --by backup.",
            )
        if migration.undoes:
            bound = ctx.bound(migration, target.variables)
            return WayBack(ref=ref, script=await _sparing(ctx, target, bound))
        if by == "script":
            raise RestoreError(
                "has no down steps",
                tenant=target.name,
                migration=name,
                file=migration.path,
                hint="Write a `-- migrate:down` section, or roll back with --by backup.",
            )
    elif by != "backup" and half is not None:
        script = await _script_of_half(ctx, engine, target, catalogue, half)
        if script is not None:
            return WayBack(ref=ref, script=script)
        if by == "script":
            raise _no_script(target, half)
    backup = backup_before(await kept_backups(ctx.store, [target.name]), ref)
    if backup is None and half is not None:
        raise _no_script(target, half)
    if backup is None:
        raise RestoreError(
            "has no down steps, and there is no backup from before it",
            tenant=target.name,
            migration=name,
            hint="Write a `NAME.down.sql` beside the migration file.",
        )
    return WayBack(ref=ref, backup=backup)


async def _sparing(ctx: RunContext, target: Target, bound: Migration) -> Migration:
    """The bound migration without the down steps that would undo what it has not made on this tenant.

    Raises RestoreError where a down step may undo that and other things.
    """
    if bound.python is not None or not may_have_made_nothing(bound):
        return bound
    known = await _known(ctx, target, bound)
    section = sparing(
        with_sync(bound),
        _not_made(bound, known) | _sync_found(bound, known),
        also=[part for parts in known.made.values() for part in parts],
        tables=_tables_found(bound, known),
    )
    if not isinstance(section, Undecided):
        section = _changed_by_sync(bound, known, section) or section
    if isinstance(section, Undecided):
        step = section.step
        raise RestoreError(
            f"{section.why}, and down step {step.number} ({step.name}) may undo more than what the"
            " migration made",
            tenant=target.name,
            migration=bound.id,
            file=step.file,
            line=step.line,
            hint="Roll back with --by backup, which loses what was written since. Or undo by hand what"
            " the migration made, then run `ledger reset --tenant NAME --to VERSION --mark-only` for the"
            " version that is left.",
        )
    return msgspec.structs.replace(bound, down=section)


async def _script_of_half(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, half: Half
) -> Migration | None:
    """The bound migration with the down steps that undo what has landed; None where that is not known."""
    if half.intent is not None:
        return None
    try:
        migration = await kept_migration(ctx, half.ref, engine.dialect, catalogue)
    except ScriptError:
        return None
    bound = ctx.bound(migration, target.variables)
    not_made = _not_made(bound, await _known(ctx, target, bound))
    section = undoing(bound, frozenset(half.applied), not_made)
    return None if section is None else msgspec.structs.replace(bound, down=section)


async def _known(ctx: RunContext, target: Target, bound: Migration) -> Ran:
    return (await what_ran(ctx.store, target.name)).get(bound.ref.key, Ran())


def _not_made(bound: Migration, known: Ran) -> dict[int, NotMade]:
    """The up steps that made nothing on this tenant, as the ledger recorded it."""
    found = known.not_made
    return {
        step.number: found[step.number]
        for step in bound.up.steps
        if step.number in found
        and (found[step.number].why != "found" or keeps_what_it_finds(step, bound.dialect))
    }


def _sync_found(bound: Migration, known: Ran) -> dict[int, NotMade]:
    """The same of the section sync, by the numbers of `with_sync`: statements whose object was there.

    Only those that a down step is about: a section sync names much that it does not make.
    """
    if not bound.sync or not known.here:
        return {}
    whole = with_sync(bound)
    concerned = acted_on(whole)
    return {
        step.number: FOUND
        for step in whole.up.steps[len(bound.up.steps) :]
        if step.number in concerned and step.sha256 not in known.statements
    }


def _tables_found(bound: Migration, known: Ran) -> dict[str, int]:
    """The tables that the section sync found there, each with the number of its CREATE TABLE in `with_sync`."""
    if not known.here:
        return {}
    found: dict[str, int] = {}
    for step in with_sync(bound).up.steps[len(bound.up.steps) :]:
        kind = dialect_of(bound.dialect).classify(step.readable)
        if kind.makes("table") and step.sha256 not in known.statements:
            found[kind.target.rpartition(".")[2].lower()] = step.number
    return found


def _changed_by_sync(bound: Migration, known: Ran, down: Section | None) -> Undecided | None:
    """A down step that is left out since the section sync found its object, and may have changed it.

    That is where nothing says what the section's further statements have added.
    """
    whole = with_sync(bound).up.steps
    if (
        not bound.sync
        or down is None
        or known.statements <= {step.sha256 for step in whole} | known.made.keys()
    ):
        return None
    for step in down.steps:
        number = step.skip_if.up_step if step.skip_if is not None else None
        if step.skip_if is not None and number is not None and number > len(bound.up.steps):
            return Undecided(step, whole[number - 1], step.skip_if.text)
    return None


def _no_script(target: Target, half: Half) -> RestoreError:
    return RestoreError(
        f"{half_text(half)}, and which of its down steps undo that cannot be told; there is no"
        " backup from before it"
        if half.intent is None
        else f"{half_text(half)}, so that what is to be undone cannot be told from its steps",
        tenant=target.name,
        migration=half.id,
        hint="Roll back with --by backup where there is one; or undo by hand what has landed, then"
        " run `ledger reset --tenant NAME --to VERSION --mark-only` for the version that is left.",
    )
