"""What became of a tenant, where nothing else in the ledger says so.

Invariant: a failure leaves a trace. It stands on the tenant's stream, or, while another run has
that, on the run's own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio

from ledger import events as ev
from ledger.engines.base import Target
from ledger.errors import LedgerError, TenantError
from ledger.runner.claim import require_free
from ledger.runner.context import RunContext
from ledger.runner.held import RELEASE_SECONDS
from ledger.runner.outcome import Outcome

log = logging.getLogger("ledger.fleet")


async def record_outcome(ctx: RunContext, outcome: Outcome, *, apart: bool = False) -> bool:
    """Record an outcome that is none of success and of which this run has recorded no reason.

    With `apart` on the run's stream: it is no tenant of this ledger. Returns False, and logs it, if
    the ledger cannot be written within `RELEASE_SECONDS`: the run meets that by itself.
    """
    tenant = outcome.tenant
    if outcome.ok or outcome.result == "not_run" or tenant in ctx.bad_ends:
        return True
    why = f"no answer within {RELEASE_SECONDS:g} s"
    event = ev.TenantSkipped(reason=outcome.error or outcome.result, detail=outcome.message)
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_SECONDS):
        try:
            if not apart and await _on_its_own(ctx, tenant, event):
                return True
            await ctx.record_run(
                ev.TenantSkipped(reason=event.reason, detail=event.detail, of=tenant)
            )
            ctx.bad_ends.add(tenant)
            return True
        except LedgerError as error:
            why = str(error)
    log.warning("tenant %s: what became of it could not be recorded: %s", tenant, why)
    return False


async def record_rest(
    ctx: RunContext, failures: Sequence[Outcome], apart: Sequence[Outcome]
) -> None:
    """What could not be recorded when it happened, at the run's end.

    Ends at the first one that the ledger does not take: a ledger that does not answer keeps each
    waiting for its limit, one after the other.
    """
    for outcome in failures:
        if not await record_outcome(ctx, outcome):
            return
    for outcome in apart:
        if not await record_outcome(ctx, outcome, apart=True):
            return


async def record_skip(ctx: RunContext, target: Target, error: LedgerError) -> None:
    """Record on its stream that the tenant was set aside, unless another run works on it."""
    try:
        await require_free(ctx, target.name)
        await ctx.record_last(
            target.name, [ev.TenantSkipped(reason="unreachable", detail=error.message)]
        )
    except LedgerError as second:
        error.add_note(f"and this could not be recorded: {second}")


async def _on_its_own(ctx: RunContext, tenant: str, event: ev.TenantSkipped) -> bool:
    """Whether it could be recorded on the tenant's stream: not while another run is at work there."""
    try:
        await ctx.refresh(tenant)
        await require_free(ctx, tenant)
        await ctx.record_last(tenant, [event])
    except TenantError:
        return False
    return True
