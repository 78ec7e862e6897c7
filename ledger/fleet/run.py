"""One run over many tenants: bounded, stoppable, every tenant with an outcome.

Invariant: only cancellation crosses tenants. A first signal stops new tenants
and lets those in hand finish, within a limit; a second one ends the process at
once, which is as safe as kill -9 (`signals.py`).
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

import anyio
import msgspec
from anyio.lowlevel import RunVar

from ledger import events as ev
from ledger.engines.base import Target
from ledger.errors import LedgerError, UsageError
from ledger.fleet.bulk.queue import Ways
from ledger.fleet.progress import Progress
from ledger.fleet.recorded import Beginning
from ledger.fleet.report import RunReport
from ledger.fleet.signals import GRACE_SECONDS, Signals
from ledger.fleet.width import Width
from ledger.runner.context import RunContext
from ledger.runner.held import RELEASE_SECONDS
from ledger.runner.holder import run_began, run_ended
from ledger.runner.outcome import Outcome, failure
from ledger.runner.unrecorded import record_outcome, record_rest

if TYPE_CHECKING:
    from ledger.fleet.bulk.run import Quick

log = logging.getLogger("ledger.fleet")

Work = Callable[[Target], Awaitable[Outcome]]

LEASE_FRACTION = 3
"""A lease is renewed this many times within its length."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How wide, and how far. `max_failures` is a number or a percentage (`5` or `5%`) of the `chosen`
    tenants, those that need nothing any more included (None: of the run's).

    `signals` tells the run of SIGINT and SIGTERM.
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


class _Stop:
    """Why no new tenant is begun any more; empty while they are."""

    def __init__(self) -> None:
        self.reason = ""
        self.interrupted = False


_widths: RunVar[dict[tuple[str, int], Width]] = RunVar("server_widths")


def _width(target: Target) -> Width:
    """One for each server and limit, over all runs of this event loop: a Width belongs to one."""
    try:
        widths = _widths.get()
    except LookupError:
        widths = {}
        _widths.set(widths)
    key = (target.server, target.max_connections)
    if key not in widths:
        widths[key] = Width(target.max_connections)
    return widths[key]


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
    quick: Quick | None = None,
    beginning: Beginning | None = None,
    apart: Sequence[Outcome] = (),
) -> RunReport:
    """Do `work` on every target, and record the run. One outcome for each, whatever happens.

    `apart` are failures of what is no tenant of this ledger, to be recorded with the run.

    With `quick`, files go that way first; `work` is for those that need it. Tenants on which the
    last command failed come after all others, on whichever server they are.
    """
    began = time.perf_counter_ns()
    budget = bounds.failure_budget(len(targets))
    last = {target.name for target in targets if failed_before(ctx, target)}
    stop = _Stop()
    scope = anyio.CancelScope()
    outcomes: dict[str, Outcome] = {}
    heard: AbstractContextManager[None] = nullcontext()
    if bounds.signals is not None:
        heard = bounds.signals.heard_by(lambda number: _stop_by(number, stop, scope, progress))
    with _active(ctx.run), heard:
        seen = beginning.seen if beginning is not None else None
        await ctx.record_run(
            *((seen[0],) if seen is not None else ()),
            ev.RunStarted(
                command=ctx.command,
                tenants=len(targets),
                holder=ctx.holder,
                lease_seconds=ctx.settings.lease_seconds,
                target=target_version,
                options=options or {},
                reason=ctx.reason,
                plan=beginning.plan.sha256 if beginning is not None else "",
            ),
            scripts=beginning.scripts if beginning is not None else None,
        )
        progress.run_started(len(targets), ctx.command)

        def report() -> RunReport:
            return RunReport(
                run=ctx.run,
                command=ctx.command,
                outcomes=tuple(
                    outcomes.get(target.name) or _not_run(target, stop) for target in targets
                ),
                duration_us=(time.perf_counter_ns() - began) // 1000,
                interrupted=stop.interrupted,
            )

        try:
            async with anyio.create_task_group() as background:
                background.start_soon(_renew, ctx)
                with scope:
                    for some, how in (
                        ([one for one in targets if one.name not in last], quick),
                        ([one for one in targets if one.name in last], None),
                    ):
                        await _work_all(
                            ctx, some, work, bounds, progress, stop, budget, outcomes, how
                        )
                background.cancel_scope.cancel()
        except BaseException as error:
            stop.interrupted = True
            await _end_all_the_same(ctx, report(), error)
            raise
        ended = report()
        await record_rest(ctx, ended.failures, apart)
        await ctx.record_run(_finished(ended))
    return ended


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


def _not_run(target: Target, stop: _Stop) -> Outcome:
    return Outcome(
        tenant=target.name,
        result="not_run",
        message=stop.reason or "the run ended before its turn",
        hint="Run the same command again; it goes on from there.",
    )


async def _work_all(
    ctx: RunContext,
    targets: Sequence[Target],
    work: Work,
    bounds: Bounds,
    progress: Progress,
    stop: _Stop,
    budget: int | None,
    outcomes: dict[str, Outcome],
    quick: Quick | None,
) -> None:
    """As many workers per server as it may have connections, of which so many work as it is good for;
    over all of them, at most `parallel` at once.
    """
    queues: dict[str, deque[Target]] = {}
    for target in targets:
        queues.setdefault(target.server, deque()).append(target)
    everywhere = anyio.CapacityLimiter(bounds.parallel)

    def judge(outcome: Outcome) -> None:
        """Too many failures stop the run."""
        if not outcome.ok and budget is not None:
            failed = sum(not one.ok for one in outcomes.values())
            if failed >= budget and not stop.reason:
                stop.reason = f"stopped after {failed} failed"
                progress.message(stop.reason)

    async def turn(queue: deque[Target]) -> Outcome | None:
        async with everywhere:
            if not queue or stop.reason:
                return None
            return await _one(ctx, queue.popleft(), work, progress, outcomes)

    async def worker(queue: deque[Target], width: Width | None) -> None:
        while queue and not stop.reason:
            if width is None:
                outcome = await turn(queue)
            else:
                # The server's place first: who waits for one keeps no other server's tenant waiting.
                async with width.place():
                    outcome = await turn(queue)
            if outcome is None:
                return
            judge(outcome)

    async def quickly(queue: deque[Target], quick: Quick) -> None:
        """The quick way, and beside it the patient one for those that need it."""
        patient = 0
        beside_lanes = max(1, bounds.parallel - quick.lanes)

        async def patiently(target: Target) -> None:
            nonlocal patient
            async with everywhere:
                # One that is claimed is in hand, and comes to its end whatever stops the others.
                if target.name in ctx.handed or not stop.reason:
                    judge(await _one(ctx, target, work, progress, outcomes))
            patient -= 1
            quick.wake()

        def take() -> Target | None:
            # Whoever counts failures wants to know of one before the next tenant.
            enough = bounds.parallel if budget is None else 1
            if not queue or stop.reason or patient >= enough:
                return None
            if everywhere.borrowed_tokens > beside_lanes:
                return None
            everywhere.total_tokens = beside_lanes
            return queue.popleft()

        def idle() -> None:
            # Those that wait for a lock wait side by side, and not one after the other.
            everywhere.total_tokens = bounds.parallel

        def hand_over(target: Target) -> None:
            nonlocal patient
            patient += 1
            beside.start_soon(patiently, target)

        def finished(target: Target, outcome: Outcome, seconds: float) -> None:
            outcomes[target.name] = outcome
            _tell(progress, outcome, seconds)
            judge(outcome)

        ways = Ways(
            take=take,
            over=lambda: bool(stop.reason) or not queue,
            begun=lambda target: progress.tenant_started(target.name),
            finished=finished,
            patient=hand_over,
            idle=idle,
            ahead=budget is None,
        )
        everywhere.total_tokens = beside_lanes
        async with anyio.create_task_group() as beside:
            await quick.run(ways)
            idle()

    async def all_of(queue: deque[Target]) -> None:
        server = queue[0].server
        wide = min(bounds.parallel, queue[0].max_connections) if server else bounds.parallel
        width = _width(queue[0]) if server else None
        if quick is not None and not server:
            await quickly(queue, quick)
        async with anyio.create_task_group() as group:
            for _ in range(min(wide, len(queue))):
                group.start_soon(worker, queue, width)

    async with anyio.create_task_group() as group:
        for queue in queues.values():
            group.start_soon(all_of, queue)


async def _one(
    ctx: RunContext,
    target: Target,
    work: Work,
    progress: Progress,
    outcomes: dict[str, Outcome],
) -> Outcome:
    progress.tenant_started(target.name)
    began = time.perf_counter()
    try:
        outcome = await work(target)
    except anyio.get_cancelled_exc_class():
        outcomes[target.name] = Outcome(
            tenant=target.name,
            result="failed",
            error="interrupted",
            message="interrupted before its end",
            hint="Run the same command again; it goes on from there.",
        )
        await record_outcome(ctx, outcomes[target.name])
        raise
    except Exception as error:
        # A defect of ours must not take the other tenants down with it; the claim
        # it may leave behind is taken over by the next run.
        log.exception("tenant %s: unexpected error", target.name)
        wrapped = LedgerError(f"unexpected {type(error).__name__}", hint=REPORT_HINT)
        outcome = msgspec.structs.replace(
            failure(target.name, wrapped), result="failed", error="internal_error"
        )
    outcomes[target.name] = outcome
    await record_outcome(ctx, outcome)
    _tell(progress, outcome, time.perf_counter() - began)
    return outcome


def _tell(progress: Progress, outcome: Outcome, seconds: float) -> None:
    detail = outcome.message or ", ".join(outcome.migrations)
    progress.tenant_finished(outcome.tenant, outcome.result, detail, seconds)


REPORT_HINT = "This is a defect of the tool. Run with LEDGER_DEBUG=1 and report what it prints."


async def _renew(ctx: RunContext) -> None:
    """Keep the run's lease alive. A ledger that cannot be reached is asked again until the lease ends."""
    pause = ctx.settings.lease_seconds / LEASE_FRACTION
    while True:
        await anyio.sleep(pause)
        try:
            await ctx.renew_lease()
        except LedgerError as error:
            log.warning("the lease could not be renewed: %s", error)


def _stop_by(
    number: signal.Signals, stop: _Stop, scope: anyio.CancelScope, progress: Progress
) -> None:
    """Begin no new tenant, and let those in hand finish, within a limit."""
    stop.interrupted = True
    stop.reason = f"stopped by {number.name}"
    scope.deadline = anyio.current_time() + GRACE_SECONDS
    progress.message(
        f"{stop.reason}: finishing the tenants in hand (at most {GRACE_SECONDS:.0f} s);"
        " once more to stop at once"
    )
