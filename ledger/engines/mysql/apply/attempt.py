"""One attempt at a migration: sending its statements, and what came of them.

Invariant: what a step left in its connection is read before anything else is sent.
"""

from __future__ import annotations

import math
import time
from typing import Final, NamedTuple

import anyio

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.needs import needs
from ledger.dialects.steps import Step
from ledger.drivers.blockers import who_blocks
from ledger.drivers.mysql import ServerWarning
from ledger.drivers.mysql_errors import (
    ConnectionLostError,
    DriverError,
    QueryError,
    QueryTimeoutError,
)
from ledger.engines.mysql.apply.connection import ConnectionState, Kept
from ledger.engines.mysql.apply.progress import SAVE_SECONDS, Progress
from ledger.engines.mysql.apply.rows import counting
from ledger.engines.mysql.apply.staying import Staying, in_doubt
from ledger.engines.mysql.lock.marker import Begun
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import objects
from ledger.engines.mysql.trouble import LOCK_WAIT, TRY_AGAIN, lost, step_failed
from ledger.engines.work import MORE_TIME, Intent, Journal, StepResult, Work
from ledger.errors import StepFailedError, TenantError, UnreachableError

ATTEMPTS: Final = 4
"""How often a statement is tried that the server gave up for a lock's sake."""

RETRY_SECONDS: Final = 0.2

NOT_ROLLED_BACK: Final = 1196
COMMITTED: Final = (
    "; a statement inside the transaction had committed the steps before it, which stay"
)


class Sent(NamedTuple):
    """What a statement came to. `rows_found` as StepApplied has it."""

    rows: int
    warnings: tuple[ServerWarning, ...] = ()
    rows_found: int | None = None


class Attempt:
    """One attempt at a migration. All methods raise TenantError and its subclasses only.

    `own` are the results of steps inside the file's own transaction, `ahead` the numbers of steps that the
    last intent announced too. `unsaved_ddl`: only an intent can prove that the last step landed.
    `announced` are intents of an earlier attempt, by step. `lasting` is what stays of the file's own transaction.
    """

    def __init__(
        self,
        opened: Opened,
        work: Work,
        journal: Journal,
        progress: Progress,
        *,
        kept: Kept | None = None,
        begun: Begun | None = None,
    ) -> None:
        self.opened = opened
        self.work = work
        self.migration = work.ref.id
        self.progress = progress
        self.journal = journal
        self.ahead: set[int] = set()
        self.unsaved_ddl = False
        self.own: list[StepResult] = []
        self.lasting: Staying | None = None
        self.announced = _announced_before(work, progress.step, begun)
        asked = needs(work.section.steps, work.checks, unknown=work.python is not None)
        self.state = ConnectionState(
            asked,
            landed=progress.step,
            kept=kept,
            mysql=opened.connection.server.flavor == "mysql",
        )
        progress.keep(self.state)
        self._deadline = anyio.current_time() + (work.timeout_seconds or math.inf)

    def seconds(self) -> float:
        """What is left for the next statement."""
        return max(0.001, self._deadline - anyio.current_time())

    async def save(self) -> None:
        """Bring the marker up to date."""
        await self.progress.save(self.opened.connection)
        self.unsaved_ddl = False

    def land(self, result: StepResult) -> None:
        """The step has landed; inside the file's own transaction it lands with its COMMIT."""
        if self.opened.connection.in_transaction:
            self.own.append(result)
        else:
            self.progress.done(result)

    async def before_other(self, step: Step) -> None:
        """Before a step that no intent announces: the marker says that the announced steps before it landed."""
        if self.unsaved_ddl and not self.opened.connection.in_transaction:
            try:
                await self.save()
            except (ConnectionLostError, QueryTimeoutError) as error:
                raise self.lost(error, step) from error

    def in_own_transaction(self) -> bool:
        """Whether the file's own transaction is open: by BEGIN, or by a statement under SET autocommit = 0."""
        connection = self.opened.connection
        return connection.in_transaction or not connection.autocommit

    def end_own(self) -> None:
        """The file's own transaction is over: its steps have landed."""
        self.lasting = None
        if self.own:
            self.progress.done(*self.own)
            self.own = []

    async def send(self, step: Step, kind: StatementKind) -> Sent:
        """Run the statement once, and read what it left in the connection: its rows and warnings."""
        connection, state = self.opened.connection, self.state
        of_rows = counting(connection, step, kind) if self.work.direction == "up" else None
        if of_rows is not None:
            await of_rows.begin()
        text = await state.before(connection, step)
        rows = await connection.execute(text, seconds=self.seconds())
        state.ran(
            step,
            rows=connection.row_count,
            warnings=connection.warning_count,
            found=rows if connection.row_count < 0 else None,
        )
        made_id = connection.made_id
        counted = await state.count_found(connection, step)
        warnings = () if counted else await connection.warnings()
        await state.read(connection, step, made_id=made_id)
        found = await of_rows.found(rows, warnings) if of_rows is not None else None
        return Sent(rows, warnings, found)

    async def try_it(self, step: Step, kind: StatementKind, *, again: bool = False) -> StepResult:
        """Run a statement, again up to ATTEMPTS times where it times out on a lock."""
        if is_lock(kind):
            return result_of(
                step,
                time.perf_counter_ns(),
                notes=("LOCK TABLES is not run: each step is a transaction of its own",),
            )
        began = time.perf_counter_ns()
        attempt = 1
        while True:
            try:
                if again:
                    await self.opened.connection.execute(step.sql, seconds=self.seconds())
                    return result_of(step, began)
                return result_of(step, began, sent=await self.send(step, kind))
            except QueryError as error:
                if error.code not in TRY_AGAIN or attempt == ATTEMPTS:
                    raise
                attempt += 1
                await anyio.sleep(RETRY_SECONDS * attempt)

    async def timed_out(
        self,
        error: QueryTimeoutError,
        step: Step,
        pairs: tuple[tuple[str, str], ...] = (),
        before: str | None = None,
    ) -> TenantError:
        """The error for a statement that was ended for its time, once it is known whether it has landed.

        A statement that was announced, and what it touches has changed, is left to the
        next run, which settles it.
        """
        work = self.work
        own, self.own = self.own, []
        try:
            await self.opened.renew(epoch=work.epoch, ledger=work.ledger)
            if await self.progress.take_committed(self.opened.connection, own):
                return self.lost(error, step)
            if before is not None and (not before or await self.fingerprint_of(pairs) != before):
                return self.lost(error, step)
            await self.progress.save(self.opened.connection, reported=True)
        except DriverError as second:
            error.add_note(f"and the tenant could not be looked at: {second}")
            return self.lost(error, step)
        return StepFailedError(
            f"step {step.number} ({step.name}): timed out after {work.timeout_seconds:g} s",
            step=step.number,
            database_code="timeout",
            hint=f"Split the migration, or {MORE_TIME}.",
            tenant=self.opened.tenant,
            migration=self.migration,
            file=step.file,
            line=step.line,
        )

    async def failed(self, error: QueryError, step: Step, stay: str | Staying = "") -> TenantError:
        """The error for a refused statement, once the marker says what landed before it.

        `stay` says what no rollback has undone.
        """
        more = stay if isinstance(stay, str) else ""
        try:
            if error.code == LOCK_WAIT:
                more += await who_blocks(self.opened.connection)
            if self.progress.unsaved or self.progress.results:
                await self.progress.save(self.opened.connection, reported=True)
        except (ConnectionLostError, QueryTimeoutError) as second:
            return self.lost(second, step)
        except QueryError as second:
            error.add_note(f"and the marker could not be written: {second}")
        if isinstance(stay, Staying):
            return self.staying(stay, step, "the server refused it" if step.secret else str(error))
        return step_failed(
            error,
            step,
            target=self.opened.target,
            migration=self.migration,
            more=more,
            direction=self.work.direction,
        )

    def staying(self, found: Staying, step: Step, why: str) -> TenantError:
        """The error for rows that stay of a step that failed."""
        return in_doubt(found, step, why, tenant=self.opened.tenant, migration=self.migration)

    def lost(self, error: ConnectionLostError | QueryTimeoutError, step: Step) -> UnreachableError:
        """The error for a connection that was lost during the step."""
        found = lost(error, self.opened.target, f"step {step.number} ({step.name})")
        found.migration, found.file, found.line = self.migration, step.file, step.line
        return found

    async def roll_back(self) -> str | Staying:
        """Undo the open transaction. Returns words about steps, or the rows, that this does not undo, or nothing."""
        own, self.own = self.own, []
        connection = self.opened.connection
        with anyio.move_on_after(SAVE_SECONDS, shield=True):
            await connection.rollback()
            warnings = await connection.warnings()
            if await self.progress.take_committed(connection, own):
                return COMMITTED
            if any(warning.code == NOT_ROLLED_BACK for warning in warnings):
                return self.lasting or ""
        return ""

    async def fingerprint_of(self, pairs: tuple[tuple[str, str], ...]) -> str:
        """The fingerprint of these objects as they are now."""
        opened = self.opened
        found = await objects.states(opened.connection, pairs, opened.names)
        return objects.fingerprint(found, opened.names)


def _announced_before(work: Work, landed: int, begun: Begun | None) -> dict[int, Intent]:
    """The intents of an earlier attempt for steps whose outcome is not known, by step."""
    if begun is not None and begun.step == landed + 1:
        return {begun.step: begun.intent()}
    if work.intent is None or work.intent.reached:
        return {}
    return {intent.step: intent for intent in work.intent.singly()}


def is_lock(kind: StatementKind) -> bool:
    """Whether it is LOCK TABLES or UNLOCK TABLES, which is not run."""
    return kind.verb in ("LOCK", "UNLOCK")


def shown(step: Step) -> str:
    """The statement for people; withheld if the step is marked secret."""
    return "(withheld: the step is marked secret)" if step.secret else step.sql


def result_of(
    step: Step,
    began_ns: int,
    *,
    sent: Sent | None = None,
    notes: tuple[str, ...] = (),
    skipped: str = "",
) -> StepResult:
    """The result of a step that began at `began_ns`; warnings of a secret step are left out."""
    warnings = () if sent is None else map(str, sent.warnings)
    return StepResult(
        number=step.number,
        name=step.name,
        statement=step.sha256,
        duration_us=(time.perf_counter_ns() - began_ns) // 1000,
        rows=None if sent is None else sent.rows,
        rows_found=None if sent is None else sent.rows_found,
        made=step.adds,
        skipped=skipped,
        warnings=() if step.secret else (*warnings, *notes),
        up_step=step.skip_if.up_step if step.skip_if else None,
    )
