"""What a person decides about one tenant: baseline, unlock, resolve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from ledger import events as ev
from ledger import failpoints
from ledger.engines.base import Engine, Target
from ledger.errors import ConflictError, FencedError, LedgerError, TenantError
from ledger.events import MigrationRef
from ledger.plan import Catalogue
from ledger.projections import Claim
from ledger.runner.claim import StateChangedError, require_free
from ledger.runner.context import RunContext
from ledger.runner.held import claimed
from ledger.runner.marker import refuse_forgetting
from ledger.runner.outcome import Outcome, failure
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
    began = time.perf_counter_ns()
    try:
        while True:
            applied = ctx.state(target.name).applied
            have = {ref.key for ref in applied}
            new = [migration for migration in migrations if migration.ref.key not in have]
            if not new:
                return _outcome(ctx, target, "current", began)
            try:
                await _adopt(ctx, engine, target, catalogue, new)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failure(target.name, error, duration_us=(time.perf_counter_ns() - began) // 1000)
    return _outcome(ctx, target, "baselined", began, tuple(one.id for one in new))


async def _adopt(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    new: Sequence[Migration],
) -> None:
    contents = {sha: text for one in new for sha, text in one.contents.items()}
    async with (
        engine.open(target) as session,
        claimed(ctx, engine, target, session, contents=contents) as held,
    ):
        refs: list[MigrationRef] = [*ctx.state(target.name).applied, *(one.ref for one in new)]
        await refuse_forgetting(held, refs)
        mark = await session.adopt(refs, epoch=held.epoch, ledger=ctx.ledger_id)
        await held.end(
            ev.Baselined(migrations=tuple(one.ref for one in new), reason=ctx.reason, mark=mark),
            news=await held.counted(engine, catalogue, mark, refs),
        )


def _outcome(
    ctx: RunContext,
    target: Target,
    result: Literal["current", "baselined"],
    began_ns: int,
    migrations: tuple[str, ...] = (),
) -> Outcome:
    applied = ctx.state(target.name).applied
    return Outcome(
        tenant=target.name,
        result=result,
        migrations=migrations,
        version=applied[-1].version if applied else None,
        duration_us=(time.perf_counter_ns() - began_ns) // 1000,
    )


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
        return failure(target.name, error, duration_us=(time.perf_counter_ns() - began) // 1000)
    if ended is None:
        return Outcome(tenant=target.name, result="current", message="nothing held it")
    return Outcome(
        tenant=target.name,
        result="unlocked",
        message=f"the claim of {ended.actor} (run {ended.run}) was ended",
        duration_us=(time.perf_counter_ns() - began) // 1000,
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
