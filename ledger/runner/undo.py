"""Taking one tenant back: by the down steps, or from a backup."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ledger import events as ev
from ledger.engines.base import Engine, Session, Target
from ledger.errors import (
    BackupError,
    LedgerError,
)
from ledger.events import MigrationRef
from ledger.plan import Catalogue, standing
from ledger.projections import Applied, without
from ledger.runner import backups
from ledger.runner.claim import StateChangedError
from ledger.runner.comparison import Comparison, View
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.held import Held, claimed
from ledger.runner.kept import KeptBackup
from ledger.runner.marker import believe_marker, take_up
from ledger.runner.outcome import Outcome, failure
from ledger.runner.past import Past, ids, last_with, past
from ledger.runner.tenant import opened_and_claimed, outcome_of
from ledger.runner.ways import WayBack, ways_back
from ledger.scripts.model import Migration

if TYPE_CHECKING:
    from ledger.requests import How

WITHOUT = (
    "(Going back without a backup of the present state: `ledger restore --tenant NAME`, which takes none, or"
    ' backup = "never" in the configuration.)'
)
"""A migration may itself have left what cannot be backed up: a view whose table it dropped."""

Choose = Callable[[Applied], Sequence[MigrationRef]]


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
        return failure(target.name, failed, done=undone, duration_us=elapsed_us(began))
    return Outcome(
        tenant=target.name,
        result="rolled_back" if undone else "current",
        migrations=undone,
        version=applied[-1].version if applied else None,
        duration_us=elapsed_us(began),
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

    async def act() -> Outcome:
        async with opened_and_claimed(ctx, engine, target, direction="down") as held:
            warnings = await bring_back(held, kept, engine, catalogue)
        return Outcome(
            tenant=target.name,
            result="restored",
            backup=kept.backup.path,
            warnings=tuple(warnings),
        )

    return await outcome_of(ctx, target, act)
