"""Statements of rows: they commit together with the marker, by themselves or in the file's own transaction."""

from __future__ import annotations

import time

import anyio
import msgspec

from ledger import failpoints
from ledger.dialects.kinds import StatementKind
from ledger.dialects.steps import Step
from ledger.drivers.mysql_errors import ConnectionLostError, QueryError, QueryTimeoutError
from ledger.engines.mysql.apply import within
from ledger.engines.mysql.apply.attempt import (
    ATTEMPTS,
    RETRY_SECONDS,
    Attempt,
    result_of,
)
from ledger.engines.mysql.apply.staying import Staying
from ledger.engines.mysql.trouble import TRY_AGAIN
from ledger.engines.work import Intent


async def run_rows(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """A statement of rows, in one transaction with the marker."""
    connection = attempt.opened.connection
    for trial in range(1, ATTEMPTS + 1):
        try:
            await attempt.progress.announce_if_many(
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
            result = result_of(step, began, sent=await attempt.send(step, kind))
            failpoints.reach("engine.before_marker")
            await attempt.progress.save_within(connection, result)
            failpoints.reach("engine.in_transaction")
            await connection.commit()
            failpoints.reach("engine.after_commit")
            attempt.progress.committed(result)
            return
        except QueryTimeoutError as error:
            raise await attempt.timed_out(error, step) from error
        except ConnectionLostError as error:
            raise attempt.lost(error, step) from error
        except QueryError as error:
            stay = await attempt.roll_back()
            if stay or error.code not in TRY_AGAIN or trial == ATTEMPTS:
                raise await attempt.failed(error, step, stay) from error
            await anyio.sleep(RETRY_SECONDS * trial)
        except BaseException:
            await attempt.roll_back()
            raise


async def run_transaction(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """BEGIN, COMMIT, ROLLBACK or a savepoint of the file itself; with its COMMIT the marker commits."""
    connection = attempt.opened.connection
    ends = kind.transaction in ("commit", "rollback")
    try:
        if kind.transaction == "commit" and connection.in_transaction:
            result = result_of(step, time.perf_counter_ns())
            attempt.state.ran(step, rows=0, warnings=0)
            await attempt.progress.save_within(connection, *attempt.own, result)
            failpoints.reach("engine.in_transaction")
            await connection.execute(step.sql, seconds=attempt.seconds())
            failpoints.reach("engine.after_commit")
            attempt.progress.committed(*attempt.own, result)
            attempt.own = []
            return
        if kind.commits:
            await commit_own(attempt, step)
        if not connection.in_transaction:
            await attempt.before_other(step)
        result = await attempt.try_it(step, kind)
    except (ConnectionLostError, QueryTimeoutError) as error:
        raise attempt.lost(error, step) from error
    except QueryError as error:
        stay = await attempt.roll_back()
        raise await attempt.failed(error, step, stay) from error
    attempt.own.append(result)
    if ends or not connection.in_transaction:
        attempt.end_own()


async def run_within(attempt: Attempt, step: Step, kind: StatementKind) -> None:
    """A step inside the file's own transaction: it lands with its COMMIT."""
    began = time.perf_counter_ns()
    outlasts = False
    try:
        if await within.has_run(attempt.opened, attempt.work, step, kind):
            attempt.state.took_up(step)
            attempt.own.append(msgspec.structs.replace(result_of(step, began), recovered=True))
            return
        outlasts = await within.announce(attempt.opened, attempt.progress, attempt.own, step, kind)
        if outlasts:
            attempt.lasting = Staying(step.number, kind.target * (kind.kind == "dml"))
        sent = await attempt.send(step, kind)
        failpoints.reach("engine.after_statement")
    except QueryTimeoutError as error:
        raise await attempt.timed_out(error, step, before="" if outlasts else None) from error
    except ConnectionLostError as error:
        raise attempt.lost(error, step) from error
    except QueryError as error:
        stay = await attempt.roll_back()
        attempt.progress.failed(step)
        raise await attempt.failed(error, step, stay) from error
    attempt.own.append(result_of(step, began, sent=sent))
    if not attempt.in_own_transaction():
        await _keep_committed(attempt, step)


async def _keep_committed(attempt: Attempt, step: Step) -> None:
    """The statement, a procedure perhaps, has committed what was open: write the marker at once."""
    attempt.end_own()
    try:
        await attempt.save()
    except (ConnectionLostError, QueryTimeoutError) as error:
        raise attempt.lost(error, step) from error


async def commit_own(attempt: Attempt, step: Step) -> None:
    """Before a statement that commits implicitly: commit, so that the marker goes along."""
    connection = attempt.opened.connection
    try:
        if attempt.own and connection.in_transaction:
            await attempt.progress.save_within(connection, *attempt.own)
            await connection.commit()
            attempt.progress.committed(*attempt.own)
            attempt.own = []
    except (ConnectionLostError, QueryTimeoutError) as error:
        raise attempt.lost(error, step) from error
