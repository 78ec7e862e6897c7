"""What is asked of the maintenance of a tenant, what it reports, and the claim that it works under.

Invariant: a tenant that is not where the ledger believes it to be is not maintained.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from ledger.engines.base import Engine, Session, Target
from ledger.engines.maintain import Orphans
from ledger.errors import (
    LedgerError,
    MarkerMismatchError,
    TenantError,
    for_tenant,
)
from ledger.runner.context import RunContext
from ledger.runner.held import Held, claimed

if TYPE_CHECKING:
    from ledger.requests import Task


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted. `before` is the moment that old rows are older than; `apply` changes rows."""

    task: Task
    apply: bool = False
    batch: int = 1000
    table: str = ""
    column: str = ""
    before: datetime | None = None


class TenantMaintenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What maintenance found, and did, on one tenant.

    `rows` were deleted, mended or moved; `found` are the orphans there were. `old` are rows
    that may be archived, `held` old ones that others refer to, `unreadable` ones without a
    time. `file` and `sha256` are the archive's. `error` is a stable word.
    """

    tenant: str
    task: Task
    result: Literal["current", "found", "maintained", "failed"]
    rows: int = 0
    found: tuple[Orphans, ...] = ()
    old: int = 0
    held: int = 0
    unreadable: int = 0
    file: str = ""
    sha256: str = ""
    waiting: tuple[str, ...] = ()
    bytes_before: int | None = None
    bytes_after: int | None = None
    notes: tuple[str, ...] = ()
    duration_us: int = 0
    error: str | None = None
    message: str = ""
    hint: str = ""


def failed(tenant: str, task: Task, error: LedgerError) -> TenantMaintenance:
    """The value of a tenant that met an error."""
    return TenantMaintenance(
        tenant=tenant,
        task=task,
        result="failed",
        error=getattr(error, "code", "failed"),
        message=error.message,
        hint=for_tenant(error.hint, tenant),
    )


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
                "stands in the middle of a migration",
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
