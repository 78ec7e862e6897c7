"""A run over many tenants while it lasts: the outcomes so far, and whether new tenants are begun."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import msgspec

from ledger.engines.base import Target
from ledger.errors import LedgerError
from ledger.fleet.progress import Progress
from ledger.fleet.report import RunReport
from ledger.fleet.signals import GRACE_SECONDS
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.outcome import Outcome, failure
from ledger.runner.skipped import record_outcome

log = logging.getLogger("ledger.fleet")

REPORT_HINT = "This is a defect of the tool. Run with LEDGER_DEBUG=1 and report what it prints."

Work = Callable[[Target], Awaitable[Outcome]]


class Ongoing:
    """One run. `budget` is the number of failures that stops it (None: no number does).

    `stopped` says why no new tenant is begun any more; empty while they are. `scope` ends the
    work on tenants.
    """

    def __init__(
        self,
        ctx: RunContext,
        targets: Sequence[Target],
        work: Work,
        progress: Progress,
        budget: int | None,
    ) -> None:
        self.ctx = ctx
        self.progress = progress
        self.budget = budget
        self.scope = anyio.CancelScope()
        self.stopped = ""
        self.interrupted = False
        self._targets = targets
        self._work = work
        self._outcomes: dict[str, Outcome] = {}
        self._failed = 0
        self._began_ns = time.perf_counter_ns()

    def stop_by(self, number: signal.Signals) -> None:
        """Begin no new tenant, and let those at work finish, within a limit."""
        self.interrupted = True
        self.stopped = f"stopped by {number.name}"
        self.scope.deadline = anyio.current_time() + GRACE_SECONDS
        self.progress.message(
            f"{self.stopped}: finishing the tenants in hand (at most {GRACE_SECONDS:.0f} s);"
            " once more to stop at once"
        )

    def skips(self, target: Target) -> bool:
        """Whether the tenant is not begun any more; one that is claimed comes to its end all the same."""
        return bool(self.stopped) and target.name not in self.ctx.begun

    def finished(self, outcome: Outcome, seconds: float) -> None:
        """Take a tenant's outcome; too many failures stop the run."""
        self._keep(outcome)
        self._end(outcome, seconds)

    def _keep(self, outcome: Outcome) -> None:
        self._outcomes[outcome.tenant] = outcome
        self._failed += not outcome.ok

    def _end(self, outcome: Outcome, seconds: float) -> None:
        detail = outcome.message or ", ".join(outcome.migrations)
        self.progress.tenant_finished(outcome.tenant, outcome.result, detail, seconds)
        if (
            not outcome.ok
            and self.budget is not None
            and self._failed >= self.budget
            and not self.stopped
        ):
            self.stopped = f"stopped after {self._failed} failed"
            self.progress.message(self.stopped)

    async def work(self, target: Target) -> None:
        """Work on one tenant; only cancellation leaves as an exception."""
        self.progress.tenant_started(target.name)
        began = time.perf_counter()
        try:
            outcome = await self._work(target)
        except anyio.get_cancelled_exc_class():
            outcome = Outcome(
                tenant=target.name,
                result="failed",
                error="interrupted",
                message="interrupted before its end",
                hint="Run the same command again; it goes on from there.",
            )
            self._keep(outcome)
            await record_outcome(self.ctx, outcome)
            raise
        except Exception as error:
            # A defect of ours must not take the other tenants down with it; the claim
            # it may leave behind is taken over by the next run.
            log.exception("tenant %s: unexpected error", target.name)
            wrapped = LedgerError(f"unexpected {type(error).__name__}", hint=REPORT_HINT)
            outcome = msgspec.structs.replace(
                failure(target.name, wrapped), result="failed", error="internal_error"
            )
        self._keep(outcome)
        await record_outcome(self.ctx, outcome)
        self._end(outcome, time.perf_counter() - began)

    def report(self) -> RunReport:
        """What has become of every tenant so far. A signal that found all of them done has cut nothing short."""
        outcomes = tuple(
            self._outcomes.get(target.name) or self._not_run(target) for target in self._targets
        )
        return RunReport(
            run=self.ctx.run,
            command=self.ctx.command,
            outcomes=outcomes,
            duration_us=elapsed_us(self._began_ns),
            interrupted=self.interrupted and any(map(_is_left, outcomes)),
        )

    def _not_run(self, target: Target) -> Outcome:
        return Outcome(
            tenant=target.name,
            result="not_run",
            message=self.stopped or "the run ended before its turn",
            hint="Run the same command again; it goes on from there.",
        )


def _is_left(outcome: Outcome) -> bool:
    return outcome.result == "not_run" or outcome.error == "interrupted"
