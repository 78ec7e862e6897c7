"""Bringing one migration to its end on one tenant, step by step.

A statement of rows shares a transaction with the marker. One that defines objects
commits by itself: it is announced (an intent, durable before it runs), and after a
crash the state of what it touches tells whether it landed. Statements that may
simply be repeated need neither. Invariant: no statement runs whose outcome a later
run could not ask for, but those that the plan has named.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping
from typing import Final

import anyio
import msgspec

from ledger import failpoints
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.connection import uses
from ledger.dialects.mysql.needs import needs
from ledger.drivers.blockers import who_blocks
from ledger.drivers.mysql import (
    ConnectionLostError,
    DriverError,
    QueryError,
    QueryTimeoutError,
    ServerWarning,
)
from ledger.engines.entries import entry_id
from ledger.engines.mysql.apply import guards, settle, sharing, within
from ledger.engines.mysql.apply.connection import ConnectionState, Kept
from ledger.engines.mysql.apply.progress import SAVE_SECONDS, Progress
from ledger.engines.mysql.lock.marker import Begun
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import objects
from ledger.engines.mysql.shared import kind_of
from ledger.engines.mysql.trouble import LOCK_WAIT, TRY_AGAIN, lost, step_failed
from ledger.engines.work import ABSENT, MORE_TIME, Intent, Journal, StepResult, Work
from ledger.errors import InDoubtError, StepFailedError, TenantError, UnreachableError
from ledger.events import AheadStep
from ledger.scripts.model import Step

ATTEMPTS: Final = 4
"""How often a statement is tried that the server gave up for a lock's sake."""

RETRY_SECONDS: Final = 0.2

MAKES: Final = ("table", "view")
"""Statements that make one object or fail, and change no other."""

NOT_ROLLED_BACK: Final = 1196
ROWS_STAY: Final = (
    "what {} had written into tables without transactions (MyISAM, Aria) stays; delete it before you"
    " run this again"
)
COMMITTED: Final = (
    "; a statement inside the transaction had committed the steps before it, which stay"
)


class Run:
    """One attempt at a migration. All methods raise TenantError and its subclasses only."""

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
        self.migration = entry_id(work.ref)
        self.progress = progress
        self.journal = journal
        self._ahead: set[int] = set()
        self._unsaved_ddl = False
        self._own: list[StepResult] = []
        self.announced = _announced(work, progress.step, begun)
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

    async def replay(self, step: Step, kind: StatementKind) -> None:
        """A step that landed in an earlier attempt: what its connection knew of it is lost."""
        self.state.lose(step)
        lasting = kind.kind == "session" or uses(step.sql).again
        if not lasting or _is_lock(kind) or not self.state.runs_again(step):
            return
        try:
            if not _may_be_repeated(step, kind, await sharing.calls(self.opened.connection, kind)):
                raise self._not_again(step)
            await self._try(step, kind, again=True)
        except (ConnectionLostError, QueryTimeoutError) as error:
            raise self._lost(error, step) from error
        except QueryError as error:
            raise await self._failed(error, step) from error

    def _not_again(self, step: Step) -> InDoubtError:
        """The error for a landed step whose result was not kept, and that has an effect of its own."""
        tenant = self.opened.tenant
        return InDoubtError(
            f"step {step.number} ({step.name}) has landed, and what it left in its connection is lost",
            step=step.number,
            evidence={"statement": _shown(step)},
            hint=f"Restore the tenant (`ledger resolve {tenant} --restore`), and keep the result in a table.",
            tenant=tenant,
            migration=self.migration,
            file=step.file,
            line=step.line,
        )

    async def restore(self) -> None:
        """All steps that landed in earlier attempts were passed: the connection knows what it knew."""
        await self.state.restore(self.opened.connection)

    def _require_known(self, step: Step) -> bool:
        """Whether the step is to run: not if a person said that it has. Raises InDoubtError where it
        needs of a lost connection what was not kept.
        """
        why = self.state.missing(step)
        word = self.work.resolved if self.work.resolved_step == step.number else None
        if not why or word == "not_applied":
            return True
        if word == "applied":
            return False
        raise InDoubtError(
            f"step {step.number} ({step.name}) cannot go on: {why}",
            step=step.number,
            evidence={"statement": _shown(step), "reason": why},
            hint=f"Restore the tenant (`ledger resolve {shlex.quote(self.opened.tenant)} --restore`), or bring "
            "about by hand what the step does and say `--applied`; `--not-applied` runs it with "
            "what there is.",
            tenant=self.opened.tenant,
            migration=self.migration,
            file=step.file,
            line=step.line,
        )

    async def take_up(
        self, step: Step, kind: StatementKind, intent: Intent, before: Mapping[str, str]
    ) -> bool:
        """A step that was announced and whose outcome is not known; whether it had landed."""
        verdict = await settle.verdict(self.opened, self.work, step, kind, intent, before)
        if verdict.landed:
            self.state.took_up(step)
            self._land(
                StepResult(
                    number=step.number,
                    name=step.name,
                    statement=step.sha256,
                    recovered=True,
                    before=intent.before,
                    after=verdict.found,
                    existed=intent.before != ABSENT if kind.may_find else None,
                )
            )
            await self.save()
            return True
        await self.run(step, kind)
        return False

    async def found_landed(self, name: str, intent: Intent) -> None:
        """A step of a sync section that was announced, and whose effect is there."""
        self._land(
            StepResult(
                number=intent.step,
                name=name,
                statement=intent.statement,
                recovered=True,
                before=intent.before,
            )
        )
        await self.save()

    async def run(self, step: Step, kind: StatementKind) -> None:
        """One step that has not landed."""
        if not self._in_own_transaction():
            self._end_own()
        if kind.kind in ("call", "other"):
            self.opened.known.forget()
        if kind.kind in ("call", "other", "ddl"):
            self.opened.storage.clear()
        if self.state.already_gone(step) or not self._require_known(step):
            self._land(
                msgspec.structs.replace(_result(step, time.perf_counter_ns()), recovered=True)
            )
            return
        if step.skip_if is not None and step.number not in self.progress.measured.open:
            await self._before_other(step)
            try:
                reason = await guards.held(self.opened.connection, step.skip_if, self.opened.target)
            except QueryError as error:
                raise await self._failed(error, step) from error
            if reason:
                self.state.passed(step)
                self._land(_result(step, time.perf_counter_ns(), skipped=reason))
                return
        if kind.kind == "transaction":
            await self._transaction(step, kind)
            return
        if self._in_own_transaction():
            if not kind.commits:
                await self._within(step, kind)
                return
            await self._commit_own(step)
        calls = await self._calls(kind)
        if _may_be_repeated(step, kind, calls):
            await self._before_other(step)
            await self._plain(step, kind)
        elif (
            await sharing.rows_share_transaction(
                self.opened.connection, self.opened.storage, step, kind
            )
            if kind.kind == "dml"
            else calls == "undone" and kind.settleable
        ):
            await self._before_other(step)
            await self._rows(step)
        elif step.redo_safe:
            await self._before_other(step)
            await self._plain(step, kind)
        else:
            await self._announced(step, kind)

    async def end(self) -> None:
        """After the last step. Raises StepFailedError if a transaction of the file is still open."""
        if self._own and self._in_own_transaction():
            first = self._own[0]
            stay = await self._roll_back() or "; nothing of it was kept"
            raise StepFailedError(
                f"the migration ends inside the transaction that step {first.number} began{stay}",
                step=first.number,
                hint="End it with COMMIT.",
                tenant=self.opened.tenant,
                migration=self.migration,
            )
        self._end_own()

    async def save(self) -> None:
        """Bring the marker up to date."""
        await self.progress.save(self.opened.connection)
        self._unsaved_ddl = False

    def _land(self, result: StepResult) -> None:
        """It has landed; inside the file's own transaction it does so with its COMMIT."""
        if self.opened.connection.in_transaction:
            self._own.append(result)
        else:
            self.progress.done(result)

    async def _before_other(self, step: Step) -> None:
        """Only an intent proves that the announced step before it landed; else the marker says so."""
        if self._unsaved_ddl and not self.opened.connection.in_transaction:
            try:
                await self.save()
            except (ConnectionLostError, QueryTimeoutError) as error:
                raise self._lost(error, step) from error

    # A statement that defines objects, or that cannot be settled.

    async def _announced(self, step: Step, kind: StatementKind) -> None:
        opened = self.opened
        pairs = objects.touched(kind)
        before: str | None = None
        try:
            existed = await self._is_there(kind)
            if step.number in self._ahead:
                self.journal.require_lease()
                before = ABSENT
            else:
                before = await self._announce(step, kind, pairs)
            result = await self._try(step, kind)
            failpoints.reach("engine.after_statement")
            after = ""
            if pairs and opened.shared.wants_after(step, before):
                try:
                    after = await self._look(pairs)
                except BaseException:
                    opened.shared.saw_no_after(step, before)
                    raise
        except QueryTimeoutError as error:
            raise await self._timed_out(error, step, pairs, before) from error
        except ConnectionLostError as error:
            raise self._lost(error, step) from error
        except QueryError as error:
            stay = "; " + ROWS_STAY.format("it") if kind.kind == "dml" else ""
            raise await self._failed(error, step, stay) from error
        self.progress.done(
            msgspec.structs.replace(result, before=before, after=after, existed=existed)
        )
        self._unsaved_ddl = True
        following = self.work.section.steps[step.number : step.number + 1]
        if any(uses(one.sql).reads_last for one in following):
            await self._before_other(step)

    async def _is_there(self, kind: StatementKind) -> bool | None:
        """Whether what a CREATE may find is there; None where it would not be the tenant's own.

        Asked beforehand: sql_notes and max_error_count can hide the server's note about it.
        """
        pairs = objects.touched(kind)[:1]
        if not (pairs and kind.may_find) or "." in kind.target + kind.owner:
            return None
        connection, names = self.opened.connection, self.opened.names
        if kind.object == "index":
            rows = await connection.fetch(guards.INDEX, (kind.target,))
            return kind.owner.lower() in {str(row[0]).lower() for row in rows}
        (found,) = await objects.states(connection, pairs, names, self.opened.known)
        return found.text is not None

    async def _was_there(self, step: Step, kind: StatementKind) -> bool | None:
        """The same before the step's first attempt: what was absent is made durable before it is made.

        So are the steps after it whose objects are known to be absent, in the same write.
        """
        progress = self.progress
        if step.number in progress.measured.absent:
            return False
        found = await self._is_there(kind)
        if found is False:
            later = (
                one.number
                for one in self.work.section.steps[step.number :]
                if one.skip_if is None and self._finds_nothing(kind_of(one.sql))
            )
            absent = (*progress.measured.absent, step.number, *later)
            progress.measured = msgspec.structs.replace(progress.measured, absent=absent)
            await self.save()
        return found

    async def _keep_open(self, step: Step) -> None:
        """A repeated step is not to be left out for what it made itself."""
        measured = self.progress.measured
        if step.number not in measured.open:
            opened = (*measured.open, step.number)
            self.progress.measured = msgspec.structs.replace(measured, open=opened)
            await self.save()

    def _finds_nothing(self, kind: StatementKind) -> bool:
        pairs = objects.touched(kind)[:1]
        return (
            kind.may_find
            and bool(pairs)
            and kind.object != "index"
            and self.opened.known.rules_out(*pairs[0])
        )

    async def _announce(
        self, step: Step, kind: StatementKind, pairs: tuple[tuple[str, str], ...]
    ) -> str:
        """Make it durable that the step is about to run on this; the fingerprint of what it touches."""
        opened = self.opened
        connection = opened.connection
        ahead = self._also(step, kind)
        found = await objects.states(connection, pairs, opened.names, opened.known)
        opened.known.add(pairs)
        before = objects.fingerprint(found, opened.names)
        texts = tuple((one.key, one.raw) for one in found if one.raw)
        if texts:
            await self.progress.save(connection, before=texts)
        await self.progress.intend(
            connection,
            Intent(
                step=step.number,
                statement=step.sha256,
                before=before,
                objects=tuple(one.key for one in found),
                connection_id=connection.thread_id,
                ahead=ahead,
            ),
        )
        self._ahead = {one.step for one in ahead}
        self._unsaved_ddl = False
        return before

    def _also(self, step: Step, kind: StatementKind) -> tuple[AheadStep, ...]:
        """The steps that the intent of this one announces too: while each makes something new.

        What is absent stays so until the step that makes it, whatever the steps before it
        do to the rest; so its before is known now. The session's lock has to keep out a
        successor meanwhile, since the ledger is not asked before each of them.
        """
        found: list[AheadStep] = []
        taken: set[str] = set()
        pairs = self._new(step, kind)
        if not pairs or not self.opened.locked:
            return ()
        taken.update(name.lower() for _, name in pairs)
        for other in self.work.section.steps[step.number :]:
            pairs = self._new(other, kind_of(other.sql))
            names = {name.lower() for _, name in pairs}
            if not pairs or names & taken:
                break
            taken |= names
            self.opened.known.add(pairs)
            keys = tuple(objects.object_key(one, name) for one, name in pairs)
            found.append(AheadStep(step=other.number, statement=other.sha256, objects=keys))
        return tuple(found)

    def _new(self, step: Step, kind: StatementKind) -> tuple[tuple[str, str], ...]:
        """What the step makes, if that is all it does, and none of it is there; else nothing."""
        plain = step.skip_if is None and step.verify_step is None and not step.redo_safe
        if (
            not plain
            or kind.redo_safe
            or not kind.settleable
            or kind.kind != "ddl"
            or not kind.makes(*MAKES)
            or kind.replaces
            or uses(step.sql).reads
        ):
            return ()
        pairs = objects.touched(kind)
        absent = all(self.opened.known.rules_out(*pair) for pair in pairs)
        return pairs if absent else ()

    async def _look(self, pairs: tuple[tuple[str, str], ...]) -> str:
        opened = self.opened
        found = await objects.states(opened.connection, pairs, opened.names)
        return objects.fingerprint(found, opened.names)

    # Rows, with the marker in the same transaction.

    async def _rows(self, step: Step) -> None:
        connection = self.opened.connection
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self.progress.announce_if_many(
                    connection,
                    Intent(
                        step=step.number,
                        statement=step.sha256,
                        before="",
                        objects=(),
                        connection_id=connection.thread_id,
                    ),
                )
                failpoints.reach("engine.before_begin")
                began = time.perf_counter_ns()
                await connection.begin()
                rows, warnings = await self._send(step)
                result = _result(step, began, rows=rows, warnings=warnings)
                failpoints.reach("engine.before_marker")
                await self.progress.save_within(connection, result)
                failpoints.reach("engine.in_transaction")
                await connection.commit()
                failpoints.reach("engine.after_commit")
                self.progress.committed(result)
                return
            except QueryTimeoutError as error:
                raise await self._timed_out(error, step) from error
            except ConnectionLostError as error:
                raise self._lost(error, step) from error
            except QueryError as error:
                stay = await self._roll_back()
                if stay or error.code not in TRY_AGAIN or attempt == ATTEMPTS:
                    raise await self._failed(error, step, stay) from error
                await anyio.sleep(RETRY_SECONDS * attempt)
            except BaseException:
                await self._roll_back()
                raise

    async def _calls(self, kind: StatementKind) -> sharing.Calls:
        """What the functions do that a statement calls which neither defines anything nor is about rows."""
        if kind.fills or kind.kind == "dml":
            return "nothing"
        return await sharing.calls(self.opened.connection, kind)

    # The file's own transaction.

    def _in_own_transaction(self) -> bool:
        """Open by BEGIN, or by a statement under SET autocommit = 0."""
        connection = self.opened.connection
        return connection.in_transaction or not connection.autocommit

    async def _transaction(self, step: Step, kind: StatementKind) -> None:
        connection = self.opened.connection
        ends = kind.transaction in ("commit", "rollback")
        try:
            if kind.transaction == "commit" and connection.in_transaction:
                result = _result(step, time.perf_counter_ns())
                self.state.ran(step, rows=0, warnings=0)
                await self.progress.save_within(connection, *self._own, result)
                failpoints.reach("engine.in_transaction")
                await connection.execute(step.sql, seconds=self.seconds())
                failpoints.reach("engine.after_commit")
                self.progress.committed(*self._own, result)
                self._own = []
                return
            if kind.commits:
                await self._commit_own(step)
            if not connection.in_transaction:
                await self._before_other(step)
            result = await self._try(step, kind)
        except (ConnectionLostError, QueryTimeoutError) as error:
            raise self._lost(error, step) from error
        except QueryError as error:
            stay = await self._roll_back()
            raise await self._failed(error, step, stay) from error
        self._own.append(result)
        if ends or not connection.in_transaction:
            self._end_own()

    async def _within(self, step: Step, kind: StatementKind) -> None:
        """A step inside the file's own transaction: it lands with its COMMIT."""
        began = time.perf_counter_ns()
        outlasts = False
        try:
            if await within.has_run(self.opened, self.work, step, kind):
                self.state.took_up(step)
                self._own.append(msgspec.structs.replace(_result(step, began), recovered=True))
                return
            outlasts = await within.announce(self.opened, self.progress, self._own, step, kind)
            rows, warnings = await self._send(step)
            failpoints.reach("engine.after_statement")
        except QueryTimeoutError as error:
            raise await self._timed_out(error, step, before="" if outlasts else None) from error
        except ConnectionLostError as error:
            raise self._lost(error, step) from error
        except QueryError as error:
            stay = await self._roll_back()
            self.progress.failed(step)
            raise await self._failed(error, step, stay) from error
        self._own.append(_result(step, began, rows=rows, warnings=warnings))
        if not self._in_own_transaction():
            await self._keep_committed(step)

    async def _keep_committed(self, step: Step) -> None:
        """A statement has committed what was open without a word of it, as a procedure may: at once say so."""
        self._end_own()
        try:
            await self.save()
        except (ConnectionLostError, QueryTimeoutError) as error:
            raise self._lost(error, step) from error

    async def _commit_own(self, step: Step) -> None:
        """Before a statement that commits implicitly: commit, so that the marker goes along."""
        connection = self.opened.connection
        try:
            if self._own and connection.in_transaction:
                await self.progress.save_within(connection, *self._own)
                await connection.commit()
                self.progress.committed(*self._own)
                self._own = []
        except (ConnectionLostError, QueryTimeoutError) as error:
            raise self._lost(error, step) from error

    def _end_own(self) -> None:
        if self._own:
            self.progress.done(*self._own)
            self._own = []

    # Failing and trying again.

    async def _plain(self, step: Step, kind: StatementKind) -> None:
        """A statement that may simply be repeated, or whose effect is its connection's."""
        try:
            if step.skip_if is not None and kind.kind == "ddl":
                await self._keep_open(step)
            existed = await self._was_there(step, kind)
            self.opened.known.add(objects.touched(kind))
            result = await self._try(step, kind)
            self._land(msgspec.structs.replace(result, existed=existed))
        except QueryTimeoutError as error:
            raise await self._timed_out(error, step) from error
        except ConnectionLostError as error:
            raise self._lost(error, step) from error
        except QueryError as error:
            raise await self._failed(error, step) from error

    async def _send(self, step: Step) -> tuple[int, tuple[ServerWarning, ...]]:
        """Run the statement once: its rows and warnings. What it leaves in the connection is seen."""
        connection, state = self.opened.connection, self.state
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
        await state.look(connection, step, made_id=made_id)
        return rows, warnings

    async def _try(self, step: Step, kind: StatementKind, *, again: bool = False) -> StepResult:
        """Run a statement; one that waited in vain for a lock is run again, a bounded number of times."""
        if _is_lock(kind):
            return _result(
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
                    return _result(step, began)
                rows, warnings = await self._send(step)
                return _result(step, began, rows=rows, warnings=warnings)
            except QueryError as error:
                if error.code not in TRY_AGAIN or attempt == ATTEMPTS:
                    raise
                attempt += 1
                await anyio.sleep(RETRY_SECONDS * attempt)

    async def _timed_out(
        self,
        error: QueryTimeoutError,
        step: Step,
        pairs: tuple[tuple[str, str], ...] = (),
        before: str | None = None,
    ) -> TenantError:
        """The error for a statement that was ended; whether it has landed all the same is looked at.

        A statement that was announced, and what it touches has changed, is left to the
        next run, which settles it.
        """
        work = self.work
        own, self._own = self._own, []
        try:
            await self.opened.renew(epoch=work.epoch, ledger=work.ledger)
            if await self.progress.take_committed(self.opened.connection, own):
                return self._lost(error, step)
            if before is not None and (not before or await self._look(pairs) != before):
                return self._lost(error, step)
            await self.progress.save(self.opened.connection, told=True)
        except DriverError as second:
            error.add_note(f"and the tenant could not be looked at: {second}")
            return self._lost(error, step)
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

    async def _failed(
        self, error: QueryError, step: Step, stay: str = ""
    ) -> StepFailedError | UnreachableError:
        """The error for a refused statement, once the marker says what landed before it.

        `stay` tells of rows that no rollback has undone.
        """
        more = stay
        try:
            if error.code == LOCK_WAIT:
                more += await who_blocks(self.opened.connection)
            if self.progress.unsaved or self.progress.results:
                await self.progress.save(self.opened.connection, told=True)
        except (ConnectionLostError, QueryTimeoutError) as second:
            return self._lost(second, step)
        except QueryError as second:
            error.add_note(f"and the marker could not be written: {second}")
        return step_failed(
            error, step, target=self.opened.target, migration=self.migration, more=more
        )

    def _lost(self, error: ConnectionLostError | QueryTimeoutError, step: Step) -> UnreachableError:
        found = lost(error, self.opened.target, f"step {step.number} ({step.name})")
        found.migration, found.file, found.line = self.migration, step.file, step.line
        return found

    async def _roll_back(self) -> str:
        """Undo the open transaction. Returns words about rows that this does not undo, or nothing."""
        own, self._own = self._own, []
        connection = self.opened.connection
        with anyio.move_on_after(SAVE_SECONDS, shield=True):
            await connection.rollback()
            warnings = await connection.warnings()
            if await self.progress.take_committed(connection, own):
                return COMMITTED
            if any(one.code == NOT_ROLLED_BACK for one in warnings):
                return "; " + ROWS_STAY.format("the steps that were rolled back")
        return ""


def _may_be_repeated(step: Step, kind: StatementKind, calls: sharing.Calls) -> bool:
    """Whether running it twice is running it once. A temporary table is gone with its connection."""
    if kind.kind in ("session", "query"):
        once = calls != "nothing" or (not kind.settleable and not kind.temporary)
        return not once or step.redo_safe
    return (step.redo_safe or kind.redo_safe) and kind.kind != "dml"


def _announced(work: Work, landed: int, begun: Begun | None) -> dict[int, Intent]:
    """The steps of which an earlier attempt has announced that they are about to run."""
    if begun is not None and begun.step == landed + 1:
        return {begun.step: begun.intent()}
    if work.intent is None or work.intent.reached:
        return {}
    return {intent.step: intent for intent in work.intent.singly()}


def _is_lock(kind: StatementKind) -> bool:
    return kind.verb in ("LOCK", "UNLOCK")


def _shown(step: Step) -> str:
    return "(withheld: the step is marked secret)" if step.secret else step.sql


def _result(
    step: Step,
    began_ns: int,
    *,
    rows: int | None = None,
    warnings: tuple[ServerWarning, ...] = (),
    notes: tuple[str, ...] = (),
    skipped: str = "",
) -> StepResult:
    return StepResult(
        number=step.number,
        name=step.name,
        statement=step.sha256,
        duration_us=(time.perf_counter_ns() - began_ns) // 1000,
        rows=rows,
        skipped=skipped,
        warnings=() if step.secret else (*map(str, warnings), *notes),
    )
