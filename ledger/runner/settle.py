"""What a person decides about one tenant: baseline, unlock, resolve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from ledger import events as ev
from ledger.engines.base import Engine, Target
from ledger.errors import LedgerError, TenantError
from ledger.events import MigrationRef
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.held import claimed
from ledger.runner.outcome import Outcome, failure
from ledger.scripts.model import Migration


async def baseline_tenant(
    ctx: RunContext, engine: Engine, target: Target, migrations: Sequence[Migration]
) -> Outcome:
    """Count `migrations` as applied without running them; the tenant's marker says so too."""
    began = time.perf_counter_ns()
    try:
        while True:
            applied = ctx.state(target.name).applied
            have = {(ref.set, ref.version) for ref in applied}
            new = [one for one in migrations if (one.ref.set, one.ref.version) not in have]
            if not new:
                return _outcome(ctx, target, "current", began)
            try:
                await _adopt(ctx, engine, target, new)
                break
            except StateChangedError:
                continue
    except LedgerError as error:
        return failure(target.name, error, duration_us=(time.perf_counter_ns() - began) // 1000)
    return _outcome(ctx, target, "baselined", began, tuple(one.id for one in new))


async def _adopt(ctx: RunContext, engine: Engine, target: Target, new: Sequence[Migration]) -> None:
    contents = {sha: text for one in new for sha, text in one.contents.items()}
    async with (
        engine.open(target) as session,
        claimed(ctx, engine, target, session, contents=contents) as held,
    ):
        refs: list[MigrationRef] = [*ctx.state(target.name).applied, *(one.ref for one in new)]
        mark = await session.adopt(refs, epoch=held.epoch, ledger=ctx.ledger_id)
        await held.end(
            ev.Baselined(migrations=tuple(one.ref for one in new), reason=ctx.reason, mark=mark)
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
    """End whatever claim there is, and fence its holder in the tenant itself."""
    began = time.perf_counter_ns()
    state = await ctx.refresh(target.name)
    claim = state.claim
    if claim is None:
        return Outcome(tenant=target.name, result="current", message="nothing held it")
    epoch = state.epoch + 1
    try:
        await ctx.record_last(
            target.name, [ev.LockCleared(epoch=epoch, reason=ctx.reason, holder=claim.holder)]
        )
        async with engine.open(target) as session:
            await session.fence(epoch=epoch, ledger=ctx.ledger_id)
    except LedgerError as error:
        return failure(target.name, error, duration_us=(time.perf_counter_ns() - began) // 1000)
    return Outcome(
        tenant=target.name,
        result="unlocked",
        message=f"the claim of {claim.actor} (run {claim.run}) was ended",
        duration_us=(time.perf_counter_ns() - began) // 1000,
    )


async def resolve_tenant(
    ctx: RunContext, target: Target, how: Literal["applied", "not_applied"]
) -> Outcome:
    """Settle the step in doubt by a person's word; the next migrate goes on from there."""
    state = await ctx.refresh(target.name)
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
