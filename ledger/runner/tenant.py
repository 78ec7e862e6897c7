"""What commands that claim one tenant share: deciding again, the time it took, an error as the outcome."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from ledger import events as ev
from ledger.engines.base import Engine, Target
from ledger.errors import LedgerError
from ledger.events import Mark, MigrationRef
from ledger.plan import Catalogue
from ledger.runner.claim import StateChangedError
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.held import Held, claimed
from ledger.runner.marker import refuse_forgetting
from ledger.runner.outcome import Outcome, failure
from ledger.scripts.model import Migration


async def outcome_of(
    ctx: RunContext, target: Target, act: Callable[[], Awaitable[Outcome]]
) -> Outcome:
    """The outcome of `act`, with the tenant's version and the time it took.

    `act` is called again for as long as another run acts on the tenant meanwhile; a LedgerError is
    the tenant's failure.
    """
    began = time.perf_counter_ns()
    while True:
        try:
            outcome = await act()
            break
        except StateChangedError:
            continue
        except LedgerError as error:
            return failure(target.name, error, duration_us=elapsed_us(began))
    applied = ctx.state(target.name).applied
    return msgspec.structs.replace(
        outcome,
        version=applied[-1].version if applied else None,
        duration_us=elapsed_us(began),
    )


@asynccontextmanager
async def opened_and_claimed(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    *,
    direction: ev.Direction = "up",
    contents: dict[str, str] | None = None,
) -> AsyncIterator[Held]:
    """Open the tenant and claim it for the block. Raises as `Engine.open` and `claimed` do."""
    async with (
        engine.open(target) as session,
        claimed(ctx, engine, target, session, direction=direction, contents=contents) as held,
    ):
        yield held


async def count_as_applied(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    migrations: Sequence[Migration],
    event: Callable[[tuple[MigrationRef, ...], Mark], ev.Baselined | ev.Imported],
) -> tuple[str, ...]:
    """Count those of `migrations` as applied that are not, without running them; returns their ids.

    The tenant's marker says so too. `event` makes the end event of them and the tenant's mark.
    """
    applied = ctx.state(target.name).applied
    have = {ref.key for ref in applied}
    new = [migration for migration in migrations if migration.ref.key not in have]
    if not new:
        return ()
    contents = {sha: text for migration in new for sha, text in migration.contents.items()}
    added = tuple(migration.ref for migration in new)
    async with opened_and_claimed(ctx, engine, target, contents=contents) as held:
        refs = [*ctx.state(target.name).applied, *added]
        await refuse_forgetting(held, refs)
        mark = await held.session.adopt(refs, epoch=held.epoch, ledger=ctx.ledger_id)
        news = await held.counted(engine, catalogue, mark, refs)
        await held.end(event(added, mark), news=news)
    return tuple(ref.id for ref in added)
