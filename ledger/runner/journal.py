"""What an engine reports while it works, turned into events on the tenant's stream."""

from __future__ import annotations

from ledger import events as ev
from ledger import failpoints
from ledger.engines.work import Intent, StepResult
from ledger.events import AnyEvent
from ledger.runner.context import RunContext
from ledger.runner.facts import step_event


class TenantJournal:
    """The `Journal` of one migration on one tenant.

    Results wait in `pending` until the next durable write, which every caller
    makes before it forgets the journal; those that an intent took along are `flushed`.
    """

    def __init__(
        self,
        ctx: RunContext,
        tenant: str,
        ref: ev.MigrationRef,
        direction: ev.Direction,
        *,
        of: int,
        recorded: frozenset[int] = frozenset(),
    ) -> None:
        self._ctx = ctx
        self._tenant = tenant
        self._ref = ref
        self._direction: ev.Direction = direction
        self._of = of
        self._recorded = recorded
        self.pending: list[AnyEvent] = []
        self.flushed: list[AnyEvent] = []

    async def intend(self, intent: Intent) -> None:
        """Make the intent, and all results before it, durable."""
        self._ctx.check_lease(self._tenant)
        self.pending.append(
            ev.StepStarted(
                set=self._ref.set,
                version=self._ref.version,
                direction=self._direction,
                step=intent.step,
                statement=intent.statement,
                before=intent.before,
                objects=intent.objects,
                connection_id=intent.connection_id,
                ahead=intent.ahead,
                bytes_before=intent.bytes_before,
                reached=intent.reached,
            )
        )
        await self.flush()
        failpoints.reach("engine.after_intent")

    def require_lease(self) -> None:
        """See Journal.require_lease."""
        self._ctx.check_lease(self._tenant)

    def landed(self, result: StepResult) -> None:
        """Take a result that is durable in the tenant; one that an earlier attempt recorded is dropped."""
        if result.number in self._recorded:
            return
        of = max(self._of, result.number, result.of)
        self._ctx.watcher.step(self._tenant, result.number, of, result.name, result.skipped)
        self.pending.append(step_event(self._ref, self._direction, result, of=of))

    async def flush(self) -> None:
        """Append what is pending under the claim. Raises FencedError if the claim is lost."""
        if self.pending:
            await self._ctx.record_claimed(self._tenant, self.pending)
            self.flushed += self.pending
            self.pending = []
