"""The claim that maintenance of a tenant works under.

Invariant: a tenant that is not where the ledger believes it to be is not maintained.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ledger.engines.base import Engine, Session, Target
from ledger.errors import MarkerMismatchError, TenantError
from ledger.runner.context import RunContext
from ledger.runner.held import Held, claimed


@asynccontextmanager
async def maintenance_claim(
    ctx: RunContext, engine: Engine, target: Target, session: Session
) -> AsyncIterator[Held]:
    """A claim on a tenant that is where the ledger believes it to be. Raises TenantError."""
    async with claimed(ctx, engine, target, session) as held:
        marker = held.found
        if marker is None:
            marker = await session.fence(epoch=held.epoch, ledger=ctx.ledger_id)
        state = ctx.state(target.name)
        have = {ref.key for ref in state.applied}
        entries = marker.entries
        has = {entry.ref.key for entry in entries if entry.state == "applied"}
        midway = state.intent is not None or bool(state.landed)
        midway = midway or any(entry.state == "running" for entry in entries)
        in_doubt = state.failure is not None and state.failure.in_doubt
        if midway or in_doubt:
            raise TenantError(
                "is in the middle of a migration",
                hint="Bring that to its end first: `ledger migrate --tenant NAME`, or"
                " `ledger resolve --tenant NAME --applied` (`--not-applied`, `--restore`).",
                tenant=target.name,
            )
        if have != has:
            # Taking its present look for the known one would hide that it went back.
            raise MarkerMismatchError(
                "the tenant's marker and the ledger disagree on what is applied",
                hint="Run `ledger migrate --tenant NAME` first; it settles that.",
                tenant=target.name,
            )
        yield held
