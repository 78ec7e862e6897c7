"""Claiming a tenant: `started` on its stream is the claim, the unique version the arbiter.

A claim is taken over at once if its holder's process is gone on this host, else
when its lease has run out by the ledger's clock. A lease only decides when to
take over; what keeps a zombie from writing is the tenant's own fence.
"""

from __future__ import annotations

import random

import anyio

from ledger import events as ev
from ledger.errors import ClaimHeldError, ConflictError
from ledger.projections import Claim
from ledger.runner.context import RunContext
from ledger.runner.holder import boottime_seconds, life_of

POLL_SECONDS = (0.05, 1.0)
"""The first and the longest pause between two looks at a claim that another run holds."""


class StateChangedError(Exception):
    """Somebody else acted on the tenant meanwhile: look at its state and decide again."""


async def claim(
    ctx: RunContext,
    tenant: str,
    *,
    engine: str,
    migration: ev.MigrationRef | None,
    direction: ev.Direction = "up",
    steps: int = 0,
    contents: dict[str, str] | None = None,
) -> int:
    """Claim the tenant and return the epoch; a claim of the bulk path that falls back goes on as it is.

    Raises StateChangedError if another run worked on the tenant (it was waited
    for), ClaimHeldError if it still does after `wait_seconds`.
    """
    ctx.check_lease(tenant)
    state = ctx.state(tenant)
    takeover: list[ev.AnyEvent] = []
    if state.claim is not None and state.claim.run == ctx.run and tenant in ctx.begun:
        del ctx.begun[tenant]
        return state.claim.epoch
    if state.claim is not None:
        why = await _why_free(ctx, state.claim)
        if why is None:
            await _wait(ctx, tenant, state.claim)
            raise StateChangedError
        takeover.append(
            ev.LockCleared(epoch=state.claim.epoch, reason=why, holder=state.claim.holder)
        )
        ctx.watcher.note(tenant, f"taking over from {state.claim.actor}: {why}")
    epoch = state.epoch + 1
    try:
        await ctx.record(
            tenant,
            [*takeover, started(ctx, epoch, engine, migration, direction, steps)],
            scripts=contents,
        )
    except ConflictError as conflict:
        await ctx.refresh(tenant)
        raise StateChangedError from conflict
    return epoch


def started(
    ctx: RunContext,
    epoch: int,
    engine: str,
    migration: ev.MigrationRef | None,
    direction: ev.Direction,
    steps: int,
) -> ev.Started:
    """The claim event."""
    return ev.Started(
        command=ctx.command,
        epoch=epoch,
        holder=ctx.holder,
        lease_seconds=ctx.settings.lease_seconds,
        engine=engine,
        direction=direction,
        migration=migration,
        steps=steps,
        reason=ctx.reason,
    )


async def _why_free(ctx: RunContext, held: Claim) -> str | None:
    """Why the claim may be taken over, or None while it may not."""
    if held.run == ctx.run:
        return "this run's own earlier claim"
    life = life_of(held.holder, held.run)
    if life == "gone":
        return f"process {held.holder.pid} on {held.holder.host} is gone"
    if ctx.fleet.lease_end(held) <= await ctx.store.now():
        return "its lease ran out"
    return None


async def _wait(ctx: RunContext, tenant: str, held: Claim) -> None:
    """Until the claim ends, passes on, or may be taken over; within `wait_seconds`."""
    ctx.watcher.note(tenant, f"waiting for {held.actor} (run {held.run})")
    deadline = boottime_seconds() + ctx.settings.wait_seconds
    pause, longest = POLL_SECONDS
    while boottime_seconds() < deadline:
        await anyio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
        pause = min(pause * 1.5, longest)
        state = await ctx.refresh(tenant)
        if state.claim is None or state.claim.epoch != held.epoch:
            return
        if await _why_free(ctx, state.claim) is not None:
            return
    raise _held_by(held, tenant)


async def require_free(ctx: RunContext, tenant: str) -> None:
    """Raises ClaimHeldError while another living run works on the tenant.

    For an append to its stream without a claim: that run would take it for a successor's,
    and what is seen of the tenant meanwhile is of its middle.
    """
    held = ctx.state(tenant).claim
    if held is not None and await at_work(ctx, tenant):
        raise _held_by(held, tenant)


async def at_work(ctx: RunContext, tenant: str) -> bool:
    """Whether a living run works on the tenant, as far as is known."""
    held = ctx.state(tenant).claim
    return held is not None and await _why_free(ctx, held) is None


def _held_by(held: Claim, tenant: str) -> ClaimHeldError:
    return ClaimHeldError(
        f"{held.actor} (process {held.holder.pid} on {held.holder.host}, run {held.run}) has held it"
        f" since {held.at}",
        tenant=tenant,
        hint="Wait for that run to end; if it cannot, `ledger unlock --tenant NAME --reason WHY` ends its claim.",
    )
