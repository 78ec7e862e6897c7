"""What became of a run, as a value."""

from __future__ import annotations

import msgspec

from ledger.runner.outcome import Outcome


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run's result. `run` is empty if nothing was to do, so that no run was recorded.

    `outcomes` are in the order of the tenants' names; every chosen tenant is
    among them. `duration_us` is wall time.
    """

    run: str
    command: str
    outcomes: tuple[Outcome, ...]
    duration_us: int = 0
    interrupted: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, int]:
        """How many tenants had which result."""
        counts: dict[str, int] = {}
        for outcome in self.outcomes:
            counts[outcome.result] = counts.get(outcome.result, 0) + 1
        return counts

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The tenants that were worked on and are not where the run wanted them."""
        return tuple(
            outcome for outcome in self.outcomes if not outcome.ok and outcome.result != "not_run"
        )

    @property
    def not_run(self) -> tuple[Outcome, ...]:
        """The tenants that the run did not come to: it was stopped before."""
        return tuple(outcome for outcome in self.outcomes if outcome.result == "not_run")

    @property
    def applied(self) -> dict[str, tuple[str, ...]]:
        """The migrations that were applied or undone, by tenant; tenants without any are left out."""
        return {
            outcome.tenant: outcome.migrations for outcome in self.outcomes if outcome.migrations
        }

    @property
    def errors(self) -> dict[str, str]:
        """Why each failed tenant failed."""
        return {
            outcome.tenant: outcome.message or outcome.error or outcome.result
            for outcome in self.failures
        }

    @property
    def success(self) -> bool:
        """Whether every tenant is where the run wanted it."""
        return not self.failures and not self.not_run and not self.interrupted

    @property
    def exit_code(self) -> int:
        """0, or 3 when some tenants failed or were not reached."""
        return 0 if self.success else 3
