"""The engine's order for one migration on one tenant, with what is known of an earlier attempt."""

from __future__ import annotations

from ledger import events as ev
from ledger.engines.base import Target
from ledger.engines.work import Intent, Work
from ledger.errors import ScriptError
from ledger.runner.context import RunContext
from ledger.runner.facts import as_intent
from ledger.scripts.created import created_checks
from ledger.scripts.model import Migration
from ledger.stores.base import Filter


async def work_for(
    ctx: RunContext, target: Target, epoch: int, migration: Migration, direction: ev.Direction
) -> Work:
    """The engine's order for one migration, with what is known of an earlier attempt."""
    section = migration.up if direction == "up" else migration.down
    if section is None:
        raise ScriptError("has no down steps", migration=migration.id, file=migration.path)
    state = ctx.state(target.name)
    ref = migration.ref
    here = (ref.set, ref.version, direction)
    intent = None
    was = state.intent
    if was is not None and (was.set, was.version, was.direction) == here:
        intent = as_intent(was)
    word = state.resolution
    resolved = None
    if word is not None and (word.set, word.version, word.direction) == here:
        resolved = word.how
    return Work(
        ref=ref,
        direction=direction,
        section=section,
        checks=(*migration.checks, *created_checks(migration, target.variables))
        if direction == "up"
        else (),
        epoch=epoch,
        ledger=ctx.ledger_id,
        expected=frozenset(each.id for each in state.applied) - {ref.id},
        python=migration.python,
        recorded=frozenset(state.landed if state.landed_in == f"{ref.id} {direction}" else ()),
        intent=intent,
        known_after=await _known_after(ctx, intent, ref, direction) if intent else frozenset(),
        resolved="applied"
        if resolved == "applied"
        else "not_applied"
        if resolved == "not_applied"
        else None,
        resolved_step=word.step if word is not None else 0,
        sync=migration.sync if direction == "up" else (),
        timeout_seconds=migration.manifest.timeout_seconds or ctx.settings.statement_seconds,
    )


async def _known_after(
    ctx: RunContext, intent: Intent, ref: ev.MigrationRef, direction: ev.Direction
) -> frozenset[str]:
    """What the same steps, from the same before, left behind on other tenants of the fleet."""
    found: set[str] = set()
    begun = {(single.step, single.statement, single.before) for single in intent.singly()}
    here = (ref.set, ref.version, direction)
    async for rows in ctx.store.read(Filter(types=("step_applied",))):
        for row in rows:
            event = row.data
            if (
                isinstance(event, ev.StepApplied)
                and event.after
                and not event.recovered
                and here == (event.set, event.version, event.direction)
                and (event.step, event.statement, event.before) in begun
            ):
                found.add(event.after)
    return frozenset(found)
