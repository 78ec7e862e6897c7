"""Taking one tenant back: by the down steps, or from a backup."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.errors import (
    BackupError,
    LedgerError,
    RestoreError,
    ScriptError,
)
from ledger.events import MigrationRef
from ledger.plan import Catalogue, half_text, in_middle, standing
from ledger.projections import Applied, Half, without
from ledger.runner import backups
from ledger.runner.claim import StateChangedError
from ledger.runner.comparison import Comparison, View
from ledger.runner.context import RunContext
from ledger.runner.held import Held, claimed
from ledger.runner.kept import KeptBackup, backup_before, kept_backups, kept_migration
from ledger.runner.marker import believe_marker, take_up
from ledger.runner.outcome import Outcome, failure
from ledger.runner.past import Past, ids, last_with, past
from ledger.scripts.model import Migration
from ledger.scripts.undoing import undoing

if TYPE_CHECKING:
    from ledger.requests import How

WITHOUT = (
    "(Going back without a backup of the present state: `ledger restore --tenant NAME`, which takes none, or"
    ' backup = "never" in the configuration.)'
)
"""A migration may itself have left what cannot be backed up: a view whose table it dropped."""

Choose = Callable[[Applied], Sequence[MigrationRef]]


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
            return WayBack(ref=ref, script=ctx.bound(migration, target.variables))
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
    backup = backup_before(await kept_backups(ctx.store, target.name), ref)
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
    section = undoing(bound, half.applied)
    return None if section is None else msgspec.structs.replace(bound, down=section)


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


async def rollback_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    choose: Choose,
    *,
    by: How = "auto",
) -> Outcome:
    """Undo what `choose` picks from the applied set, newest first; each migration ends with its event."""
    began = time.perf_counter_ns()
    before = standing(ctx.state(target.name))
    saved: list[str] = []
    warnings: list[str] = []
    failed: LedgerError | None = None
    try:
        while refs := list(choose(standing(ctx.state(target.name)))):
            ways = await ways_back(ctx, engine, target, catalogue, refs, by)
            try:
                async with engine.open(target) as session:
                    if any(way.unknown for way in ways):
                        await _look_how_far(ctx, engine, target, session, catalogue)
                        before = standing(ctx.state(target.name))
                        continue
                    await _undo(ctx, engine, target, session, catalogue, ways, saved, warnings)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        failed = error
    applied = ctx.state(target.name).applied
    left = standing(ctx.state(target.name))
    undone = tuple(ref.id for ref in reversed(before) if ref not in left)
    if failed is not None:
        return failure(target.name, failed, done=undone, duration_us=_since(began))
    return Outcome(
        tenant=target.name,
        result="rolled_back" if undone else "current",
        migrations=undone,
        version=applied[-1].version if applied else None,
        duration_us=_since(began),
        backup=saved[-1] if saved else None,
        warnings=tuple(dict.fromkeys(warnings)),
    )


async def _look_how_far(
    ctx: RunContext, engine: Engine, target: Target, session: Session, catalogue: Catalogue
) -> None:
    """Record what a run that has no end has left of the migration that it began."""
    async with claimed(ctx, engine, target, session) as held:
        await believe_marker(held, catalogue)
        await take_up(held)


def _since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000


async def _undo(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    session: Session,
    catalogue: Catalogue,
    ways: Sequence[WayBack],
    saved: list[str],
    warnings: list[str],
) -> None:
    first = ways[0]
    steps = len(first.script.down.steps) if first.script and first.script.down else 0
    await session.require_read_alike([way.script for way in ways if way.script], down=True)
    async with claimed(
        ctx, engine, target, session, ref=first.ref, direction="down", steps=steps
    ) as held:
        if first.script is not None:
            # What comes after down steps is refused before they run.
            for kept in (way.backup for way in ways if way.backup is not None):
                await session.require_restorable(Path(kept.backup.path), sha256=kept.backup.sha256)
        comparison = await held.look(engine, catalogue)
        warnings += comparison.warnings
        events = await past(ctx, target.name)
        if ctx.settings.backup != "never" and not await held.midway():
            label = f"pre_rollback_{first.ref.version}"
            try:
                created = await backups.take(
                    ctx, target, session, label=label, now=datetime.now(UTC)
                )
            except BackupError as error:
                error.hint = f"{error.hint} {WITHOUT}"
                raise
            saved.append(created.path)
            warnings += backups.warnings_of(created, target)
        if first.script is not None:
            undoing = {way.ref.id for way in ways}
            warnings += [
                f"{one} has landed in part, and stays so: `ledger migrate --tenant NAME` brings it to its end"
                for one in await held.in_part()
                if one not in undoing
            ]
        for number, way in enumerate(ways):
            following = ways[number + 1] if number + 1 < len(ways) else None
            if way.script is not None:
                warnings += await _by_script(held, way.script, following, comparison, events)
            elif way.backup is not None:
                warnings += await bring_back(held, way.backup, engine, catalogue)
                if following is not None:
                    raise StateChangedError


async def _by_script(
    held: Held,
    migration: Migration,
    following: WayBack | None,
    comparison: Comparison,
    events: Sequence[Past],
) -> tuple[str, ...]:
    """Run the down steps; what the tenant is not as it should be afterwards is returned for people."""
    done = await held.apply(migration, "down")
    script = following.script if following else None
    applied = held.ctx.state(held.target.name).applied
    left = without(applied, migration.ref)
    should = last_with(events, ids(left))
    news = await comparison.after(done.mark, done.schema, applied, left, should=should)
    await held.end(
        ev.RolledBack(
            migration=migration.ref,
            duration_us=held.lap_us(),
            reason=held.ctx.reason,
            mark=done.mark,
        ),
        done=done,
        news=news,
        following=script,
        following_direction="down",
    )
    if following is not None and script is None:
        raise StateChangedError
    return comparison.warnings


async def bring_back(
    held: Held, kept: KeptBackup, engine: Engine, catalogue: Catalogue
) -> list[str]:
    """Replace the tenant's content by a backup's; the applied set is again what it was then.

    What to warn of is returned.
    """
    unmade: list[str] = []
    ctx, target = held.ctx, held.target
    backup = kept.backup
    mark = await held.session.restore(
        Path(backup.path),
        sha256=backup.sha256,
        epoch=held.epoch,
        ledger=ctx.ledger_id,
        deadline_seconds=ctx.settings.backup_seconds,
        fingerprint=backup.fingerprint or "",
        unmade=unmade,
    )
    applied = ctx.state(target.name).applied
    then = {ref.key for ref in backup.applied}
    # It should be what it should have been then, which a drift in the backup is not.
    events = await past(ctx, target.name)
    comparison = Comparison(View(ctx, engine, target, held.session, catalogue))
    should = last_with(events, ids(backup.applied), until=kept.seq)
    news = await comparison.after(mark, None, applied, backup.applied, should=should)
    await held.end(
        ev.Restored(
            path=backup.path,
            sha256=backup.sha256,
            backup_seq=kept.seq,
            applied=backup.applied,
            lost=tuple(ref for ref in applied if ref.key not in then),
            duration_us=held.lap_us(),
            reason=ctx.reason,
            mark=mark,
        ),
        news=news,
    )
    return [
        f"the view {name} was broken when the backup was taken, and could not be made again; the file"
        f" {backup.path} ends with its definition"
        for name in unmade
    ]


async def restore_tenant(
    ctx: RunContext, engine: Engine, target: Target, catalogue: Catalogue, kept: KeptBackup
) -> Outcome:
    """Restore one backup of the tenant."""
    began = time.perf_counter_ns()
    warnings: list[str] = []
    try:
        while True:
            try:
                async with (
                    engine.open(target) as session,
                    claimed(ctx, engine, target, session, direction="down") as held,
                ):
                    warnings += await bring_back(held, kept, engine, catalogue)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failure(target.name, error, duration_us=_since(began))
    applied = ctx.state(target.name).applied
    return Outcome(
        tenant=target.name,
        result="restored",
        version=applied[-1].version if applied else None,
        duration_us=_since(began),
        backup=kept.backup.path,
        warnings=tuple(warnings),
    )
