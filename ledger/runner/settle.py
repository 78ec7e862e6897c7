"""What a person decides about one tenant: baseline, unlock, resolve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from ledger import events as ev
from ledger import failpoints
from ledger.engines.base import Engine, Target
from ledger.errors import ConflictError, FencedError, LedgerError, TenantError
from ledger.events import Mark, MigrationRef
from ledger.plan import Catalogue
from ledger.projections import Claim
from ledger.runner.claim import require_free
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.outcome import Outcome, Result, failure
from ledger.runner.tenant import count_as_applied, outcome_of
from ledger.scripts.model import Migration

UNLOCK_ATTEMPTS = 5
"""How often a claim is looked at again whose holder goes on while it is being ended."""


async def baseline_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    migrations: Sequence[Migration],
) -> Outcome:
    """Count `migrations` as applied without running them; the tenant's marker says so too."""

    def event(refs: tuple[MigrationRef, ...], mark: Mark) -> ev.Baselined:
        return ev.Baselined(migrations=refs, reason=ctx.reason, mark=mark)

    async def act() -> Outcome:
        new = await count_as_applied(ctx, engine, target, catalogue, migrations, event)
        result: Result = "baselined" if new else "current"
        return Outcome(tenant=target.name, result=result, migrations=new)

    return await outcome_of(ctx, target, act)


async def unlock_tenant(ctx: RunContext, engine: Engine, target: Target) -> Outcome:
    """Fence the holder of whatever claim there is in the tenant itself, then end the claim.

    In this order: a claim that counts as ended while its holder can still write would be a lie.
    """
    began = time.perf_counter_ns()
    try:
        ended = await _end_claim(ctx, engine, target)
    except LedgerError as error:
        error.message += "; the claim was not ended"
        error.hint = f"{error.hint} The claim ends by itself when its lease runs out.".strip()
        return failure(target.name, error, duration_us=elapsed_us(began))
    if ended is None:
        return Outcome(tenant=target.name, result="current", message="nothing held it")
    return Outcome(
        tenant=target.name,
        result="unlocked",
        message=f"the claim of {ended.actor} (run {ended.run}) was ended",
        duration_us=elapsed_us(began),
    )


async def _end_claim(ctx: RunContext, engine: Engine, target: Target) -> Claim | None:
    """The claim that was ended, or None if there is none (any more).

    A holder that lives may append between the fence and the end: what it does with its last words
    is looked at again. Raises what the tenant and the ledger raise.
    """
    for attempt in range(1, UNLOCK_ATTEMPTS + 1):
        state = await ctx.refresh(target.name)
        claim = state.claim
        if claim is None:
            return None
        epoch = state.epoch + 1
        async with engine.open(target) as session:
            try:
                await session.fence(epoch=epoch, ledger=ctx.ledger_id)
            except FencedError as error:
                # The tenant knows a newer epoch than this ledger, so that the holder is out already.
                epoch = error.found
            cleared = ev.LockCleared(epoch=epoch, reason=ctx.reason, holder=claim.holder)
            failpoints.reach("runner.before_record")
            try:
                await ctx.record(target.name, [cleared])
                return claim
            except ConflictError:
                if attempt == UNLOCK_ATTEMPTS:
                    raise
    return None


async def resolve_tenant(
    ctx: RunContext, target: Target, how: Literal["applied", "not_applied"]
) -> Outcome:
    """Settle the step in doubt by a person's word; the next migrate goes on from there."""
    state = await ctx.refresh(target.name)
    try:
        await require_free(ctx, target.name)
    except LedgerError as held:
        return failure(target.name, held)
    failed = state.failure
    if (
        failed is None
        or not failed.in_doubt
        or failed.set is None
        or failed.version is None
        or failed.step is None
    ):
        error = TenantError(
            "has no step in doubt",
            tenant=target.name,
            hint="`ledger status` shows where it stands.",
        )
        return failure(target.name, error)
    try:
        await ctx.record_last(
            target.name,
            [
                ev.Resolved(
                    set=failed.set,
                    version=failed.version,
                    direction="down" if failed.direction == "down" else "up",
                    step=failed.step,
                    how=how,
                    reason=ctx.reason,
                )
            ],
        )
    except LedgerError as error:
        return failure(target.name, error)
    return Outcome(
        tenant=target.name,
        result="resolved",
        migration=f"{failed.set}/{failed.version}",
        step=failed.step,
        message=f"step {failed.step} counts as {how.replace('_', ' ')}",
    )
