"""How far a migration has come: in memory, in the tenant's marker, and reported to the runner.

A step whose effect cannot share a transaction with the marker announces itself by
an intent. Once the intent of step k is durable, the ledger knows that all before k
have landed, so that the marker need not say so too: it is written before whatever is
not such a step, and at the end. Invariant: a result reaches the runner only when the
marker holds it or the next intent is about to be recorded together with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
import msgspec

from ledger import failpoints
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.steps import Step
from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import DriverError
from ledger.engines.entries import decides_ownership, with_sync
from ledger.engines.measured import Measured
from ledger.engines.mysql.apply.connection import ConnectionState, Kept
from ledger.engines.mysql.lock.marker import Begun, Body, MarkerTable
from ledger.engines.work import Intent, Journal, MarkerEntry, StepResult, Work
from ledger.errors import FencedError, TenantError
from ledger.events import CheckResult
from ledger.scripts.created import effects_of
from ledger.scripts.touching import Touched

SAVE_SECONDS: Final = 10.0
RESULTS_MAX: Final = 100
"""About as many results as the marker keeps; then an intent takes them to the ledger."""


class Progress:
    """One migration under one claim. `step` is the last that landed, `of` as StepResult has it.

    `measured` goes along with whatever is made durable; so does `touches`, what a Python migration's
    statements have touched. `kinds` are those of its steps, by number.
    """

    def __init__(
        self, work: Work, journal: Journal, table: MarkerTable, *, step: int, measured: Measured
    ) -> None:
        self.step = step
        self.of = 0
        self.begun: Begun | None = None
        self.kinds: dict[int, StatementKind] = {}
        self.touches = Touched()
        self.measured = measured
        self._work = work
        self._journal = journal
        self._table = table
        self._saved_step = step
        self._kept: list[StepResult] = []
        self._recorded = 0
        self._unreported: list[StepResult] = []
        self._keeps_all = work.python is not None
        self._measured_saved = False
        self._state: ConnectionState | None = None
        self._connection: Kept | None = None
        self._saved_connection: Kept | None = None

    def keep(self, state: ConnectionState) -> None:
        """From here on the marker says what the connection knows too."""
        self._state = state
        self._connection = self._saved_connection = state.now if state.restored else None

    @property
    def results(self) -> tuple[StepResult, ...]:
        """Results that the ledger may lack."""
        return tuple(self._kept)

    @property
    def unsaved(self) -> bool:
        """Whether the marker is behind."""
        return self.step != self._saved_step

    def carry(self, results: Sequence[StepResult], *, reported: bool) -> None:
        """Results that an earlier attempt left in the marker: those that the ledger may lack are reported again."""
        work = self._work
        self._kept.extend(results)
        if work.recorded is not None:
            lacking = [result for result in results if result.number not in work.recorded]
        elif reported:
            lacking = []
        else:
            lacking = [result for result in results if result.number > recorded_before(work)]
        self._unreported.extend(
            msgspec.structs.replace(result, recovered=True) for result in lacking
        )

    def done(self, *results: StepResult) -> None:
        """Steps that have landed in the tenant."""
        results = self._with_effects(results)
        self.step = results[-1].number
        if self.begun is not None and self.begun.step <= self.step:
            self.begun = None
        self._kept.extend(results)
        self._unreported.extend(results)
        self._connection = self._known()

    def _with_effects(self, results: tuple[StepResult, ...]) -> tuple[StepResult, ...]:
        """A Python migration's results, with what its statements did; what may have been there counts as found."""
        return tuple(
            msgspec.structs.replace(
                result,
                effects=effects_of(
                    kind, MYSQL, existed=kind.may_find and result.existed is not False
                ),
            )
            if (kind := self.kinds.get(result.number)) is not None
            else result
            for result in results
        )

    def report(self) -> None:
        """Report to the runner the results that it does not have."""
        unreported, self._unreported = self._unreported, []
        for result in unreported:
            self._journal.landed(msgspec.structs.replace(result, of=self.of) if self.of else result)

    def _known(self) -> Kept | None:
        return self._state.now if self._state is not None else None

    def _knows_more(self) -> bool:
        """Whether the marker lacks what no intent says; the last statement's count is left out."""
        known, saved = (
            msgspec.structs.replace(kept or Kept(), last=None)
            for kept in (self._connection, self._saved_connection)
        )
        return known != saved

    def entry(self, *, step: int | None = None, applied: bool = False) -> MarkerEntry:
        """The marker's entry as it is to be."""
        return MarkerEntry(
            ref=self._work.ref,
            state="applied" if applied else "running",
            direction=self._work.direction,
            step=self.step if step is None else step,
            epoch=self._work.epoch,
        )

    async def save(
        self,
        connection: MysqlConnection,
        *,
        before: tuple[tuple[str, str], ...] = (),
        reported: bool = False,
    ) -> None:
        """Write the marker, then report. Under SET autocommit = 0 it takes a COMMIT too."""
        await self._table.put(
            connection,
            self.entry(),
            Body(
                steps=tuple(self._kept),
                reported=reported,
                before=before,
                measured=self.measured,
                touches=self.touches,
                connection=self._connection,
                begun=self.begun,
            ),
        )
        self._measured_saved = True
        if connection.in_transaction:
            await connection.commit()
        self._saved_step = self.step
        self._saved_connection = self._connection
        self.report()
        failpoints.reach("engine.after_marker")

    async def save_within(self, connection: MysqlConnection, *results: StepResult) -> None:
        """Write the marker as it is to be once the open transaction has committed."""
        results = self._with_effects(results)
        await self._table.put(
            connection,
            self.entry(step=results[-1].number),
            Body(
                steps=(*self._kept, *results),
                measured=self.measured,
                touches=self.touches,
                connection=self._known(),
            ),
        )

    async def begin_within(
        self, connection: MysqlConnection, step: Step, before: Sequence[StepResult]
    ) -> None:
        """Write inside the open transaction what is so if the step commits it: all `before` has landed."""
        self.begun = Begun(step=step.number, statement=step.sha256)
        await self._table.put(
            connection,
            self.entry(step=before[-1].number if before else self.step),
            Body(
                steps=(*self._kept, *self._with_effects(tuple(before))),
                measured=self.measured,
                touches=self.touches,
                connection=self._known(),
                begun=self.begun,
            ),
        )

    def failed(self, step: Step) -> None:
        """The step was refused: if it had committed what was before it, it is simply run again."""
        if self.begun is not None and self.begun.step == step.number:
            self.begun = None

    async def take_committed(
        self, connection: MysqlConnection, before: Sequence[StepResult]
    ) -> bool:
        """After the transaction of `begin_within` is over: whether its step had committed what was `before`."""
        if self.begun is None:
            return False
        body = await self._table.read_body(connection, self._work.ref.id)
        if body.begun != self.begun:
            self.begun = None
            return False
        landed = [result for result in before if result.number < self.begun.step]
        if landed:
            self.done(*landed)
        return True

    def committed(self, *results: StepResult) -> None:
        """The transaction of `save_within` has committed."""
        self.done(*results)
        self._saved_step = self.step
        self._measured_saved = True
        self._saved_connection = self._connection
        self.report()

    async def finish(self, connection: MysqlConnection, checks: tuple[CheckResult, ...]) -> None:
        """The last write: applied, or (down) forgotten."""
        failpoints.reach("engine.before_marker")
        if self._work.direction == "up":
            steps = with_sync(self._kept, self._work) if self.of else tuple(self._kept)
            recorded = filter(decides_ownership, steps[: self._recorded])
            body = Body(
                steps=(*recorded, *steps[self._recorded :]),
                checks=checks,
                measured=self.measured,
                touches=self.touches,
            )
            entry = self.entry(applied=True)
            await self._table.put(connection, entry, body, recorded=self._work.expected)
            if connection.in_transaction:
                await connection.commit()
        else:
            await self._table.drop(connection, self._work.ref, epoch=self._work.epoch)
        self._saved_step = self.step
        self.report()
        failpoints.reach("engine.after_marker")

    async def intend(self, connection: MysqlConnection, intent: Intent) -> None:
        """Make the intent durable, and with it the knowledge of all steps before it.

        If that fails, the marker is written instead, since the runner may record the
        results without the intent; not where the claim is lost, since then neither is.
        What the connection knows no intent says: where it has changed, the marker does.
        """
        if self._knows_more():
            await self.save(connection)
        self.report()
        if not self._measured_saved:
            intent = msgspec.structs.replace(intent, bytes_before=self.measured.bytes)
        try:
            await self._journal.intend(intent)
        except FencedError:
            raise
        except BaseException as error:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + SAVE_SECONDS):
                try:
                    if not connection.closed:
                        await self.save(connection, reported=True)
                except (DriverError, TenantError) as second:
                    error.add_note(f"and the marker could not be written: {second}")
            raise
        self._recorded = len(self._kept)
        if len(self._kept) > RESULTS_MAX and not self._keeps_all:
            self._recorded = 0
            self._kept.clear()

    async def intend_within(self, step: Step, connection_id: int) -> None:
        """Make durable that the step is about to run in the file's own transaction, and nothing else:
        what is not saved yet may be rolled back.
        """
        await self._journal.intend(
            Intent(
                step=self._saved_step + 1,
                statement=step.sha256,
                before="",
                objects=(),
                connection_id=connection_id,
                bytes_before=None if self._measured_saved else self.measured.bytes,
                reached=step.number,
            )
        )

    async def announce_if_many(self, connection: MysqlConnection, intent: Intent) -> None:
        """Keep the marker small in a migration of thousands of rows' statements."""
        if len(self._kept) > RESULTS_MAX and not self._keeps_all:
            await self.intend(connection, intent)


def recorded_before(work: Work) -> int:
    """The last step that the ledger's open intent proves to have landed."""
    return work.intent.step - 1 if work.intent is not None else 0


def merge(entry: MarkerEntry | None, work: Work) -> int:
    """The last step that has landed, as far as marker and intent say."""
    of_marker = entry.step if entry is not None and entry.direction == work.direction else 0
    return max(of_marker, recorded_before(work))
