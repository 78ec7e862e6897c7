"""What a run reports while it works, to a terminal or another view.

Invariant: watching changes nothing. All methods are synchronous, return at once
and never raise; a run gives the same result with any view.
"""

from __future__ import annotations


class Progress:
    """What a run calls; here nothing is shown. `outcome` is a result of the run's report (`migrated`, `failed` …)."""

    def run_started(self, total: int, command: str) -> None:
        """A run over `total` tenants begins. `command` is `migrate`, `rollback`, …"""

    def tenant_started(self, name: str) -> None:
        """Work on a tenant begins."""

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str = "") -> None:
        """Step `number` of `of`, counted from 1 within its migration, is done; `skipped` says why it was not run."""

    def note(self, name: str, text: str) -> None:
        """A line about one tenant: a warning, a wait, a take-over."""

    def backed_up(self, name: str, path: str) -> None:
        """A tenant's backup at `path` is recorded."""

    def tenant_finished(
        self, name: str, outcome: str, detail: str, duration_seconds: float
    ) -> None:
        """Work on a tenant is over; `detail` is its reason or what was done, possibly empty."""

    def message(self, text: str) -> None:
        """A line about the run as a whole."""

    def close(self) -> None:
        """The view ends, before results are printed. May be called twice."""
