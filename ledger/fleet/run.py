"""One run over many tenants: bounded, stoppable, every tenant with an outcome.

Invariant: only cancellation crosses tenants. A first signal stops new tenants
and lets those in hand finish, within a limit; a second one ends the process at
once, which is as safe as kill -9 (`signals.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal

import anyio
import msgspec

from ledger import events as ev
from ledger.engines.base import Target
from ledger.errors import LedgerError, UsageError
from ledger.fleet.bulk.queue import BulkQueue
from ledger.fleet.bulk.run import Bulk
from ledger.fleet.fanout import FanOut
from ledger.fleet.ongoing import Ongoing, Work
from ledger.fleet.progress import Progress
from ledger.fleet.recorded import Beginning
from ledger.fleet.report import RunReport
from ledger.fleet.signals import Signals
from ledger.fleet.state import keep_stored
from ledger.fleet.width import width_of
from ledger.runner.context import RunContext
from ledger.runner.held import RELEASE_SECONDS
from ledger.runner.holder import run_began, run_ended
from ledger.runner.outcome import Outcome
from ledger.runner.skipped import record_rest

log = logging.getLogger("ledger.fleet")

LEASE_FRACTION = 3
"""A lease is renewed this many times within its length."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How wide, and how far. `max_failures` is a number or a percentage (`5` or `5%`) of the `chosen`
    tenants, those that need nothing any more included (None: of the run's).

    `signals` are where the run hears of SIGINT and SIGTERM.
    """

    parallel: int = 16
    on_error: Literal["continue", "stop"] = "continue"
    max_failures: str | None = None
    chosen: int | None = None
    signals: Signals | None = None

    def failure_budget(self, total: int) -> int | None:
        """How many failures stop the run. Raises UsageError for what is neither N nor N%."""
        if self.on_error == "stop":
            return 1
        if self.max_failures is None:
            return None
        text = self.max_failures.strip()
        number = text.removesuffix("%")
        if not (number.isascii() and number.isdigit()):
            raise UsageError(
                f"--max-failures {self.max_failures!r} is neither a number nor a percentage",
                hint="Write --max-failures 5 or --max-failures 5%.",
            )
        of = total if self.chosen is None else self.chosen
        allowed = of * int(number) // 100 if text.endswith("%") else int(number)
        return allowed + 1


@contextmanager
def _active(run: str) -> Iterator[None]:
    run_began(run)
    try:
        yield
    finally:
        run_ended(run)


async def run_fleet(
    ctx: RunContext,
    targets: Sequence[Target],
    work: Work,
    bounds: Bounds,
    progress: Progress,
    *,
    target_version: str | None = None,
    options: dict[str, str] | None = None,
    bulk: Bulk | None = None,
    beginning: Beginning | None = None,
    apart: Sequence[Outcome] = (),
) -> RunReport:
    """Do `work` on every target, and record the run. One outcome for each, whatever happens.

    `apart` are failures of what is no tenant of this ledger, to be recorded with the run.

    With `bulk`, tenants that can be worked on in batches go there first; `work` is for the others.
    Tenants on which the last command failed come after all others, on whichever server they are.
    """
    run = Ongoing(ctx, targets, work, progress, bounds.failure_budget(len(targets)))
    last = {target.name for target in targets if failed_before(ctx, target)}
    heard: AbstractContextManager[None] = nullcontext()
    if bounds.signals is not None:
        heard = bounds.signals.heard_by(run.stop_by)
    with _active(ctx.run), heard:
        await _record_beginning(ctx, len(targets), target_version, options or {}, beginning)
        progress.run_started(len(targets), ctx.command)
        try:
            async with anyio.create_task_group() as background:
                background.start_soon(_renew, ctx)
                background.start_soon(keep_stored, ctx)
                with run.scope:
                    first = [target for target in targets if target.name not in last]
                    await _work_all(run, first, bounds.parallel, bulk)
                    again = [target for target in targets if target.name in last]
                    await _work_all(run, again, bounds.parallel, None)
                background.cancel_scope.cancel()
        except BaseException as error:
            run.interrupted = True
            await _end_all_the_same(ctx, run.report(), error)
            raise
        report = run.report()
        await record_rest(ctx, report.failures, apart)
        await ctx.record_run(_finished(report))
    return report


async def _record_beginning(
    ctx: RunContext,
    tenants: int,
    target: str | None,
    options: dict[str, str],
    beginning: Beginning | None,
) -> None:
    await ctx.record_run(
        *(event for event, _ in (beginning.seen if beginning is not None else ())),
        ev.RunStarted(
            command=ctx.command,
            tenants=tenants,
            holder=ctx.holder,
            lease_seconds=ctx.settings.lease_seconds,
            target=target,
            options=options,
            reason=ctx.reason,
            plan=beginning.plan.sha256 if beginning is not None else "",
        ),
        scripts=beginning.scripts if beginning is not None else None,
    )


def failed_before(ctx: RunContext, target: Target) -> bool:
    """Whether it is among the last: what stops the run there again has kept no other tenant waiting."""
    state = ctx.state(target.name)
    return state.failure is not None or bool(state.skipped) or state.set_aside


def _finished(report: RunReport) -> ev.RunFinished:
    return ev.RunFinished(
        outcomes=report.summary, duration_us=report.duration_us, interrupted=report.interrupted
    )


async def _end_all_the_same(ctx: RunContext, report: RunReport, error: BaseException) -> None:
    """Record the end of a run that was cancelled, or that a defect ended."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_SECONDS):
        try:
            await ctx.record_run(_finished(report))
        except LedgerError as second:
            error.add_note(f"and the run's end could not be recorded: {second}")


async def _work_all(
    run: Ongoing, targets: Sequence[Target], parallel: int, bulk: Bulk | None
) -> None:
    """At most `parallel` at once over all, and on each server as many as it is good for."""
    batched: list[Target] = []
    queue: BulkQueue | None = None

    async def work(target: Target) -> None:
        await run.work(target)
        if queue is not None and bulk is not None and target.name in queue.falling:
            queue.falling.remove(target.name)
            bulk.wake()

    fan = FanOut(work, parallel, run.skips)
    for target in targets:
        if bulk is not None and bulk.takes(target):
            batched.append(target)
        else:
            fan.add(target, width_of(target))
    if bulk is None or not batched:
        await fan.run()
        return
    queue = BulkQueue(run, fan, batched, parallel=parallel, lanes=bulk.lanes)
    await fan.run(partial(bulk.run, queue))


async def _renew(ctx: RunContext) -> None:
    """Keep the run's lease alive. A ledger that cannot be reached is asked again until the lease ends."""
    pause = ctx.settings.lease_seconds / LEASE_FRACTION
    while True:
        await anyio.sleep(pause)
        try:
            await ctx.renew_lease()
        except LedgerError as error:
            log.warning("the lease could not be renewed: %s", error)
