"""Python migrations: `async def up(tenant)`, each `await tenant.execute(sql)` a step of its own.

The marker is written after each step, with the statement's hash: a run that goes
on after a crash calls the function anew, and statements that have landed are not
run again. Invariant: a statement that differs from what landed in its place stops
the tenant; the function must ask the same in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.dialects.mysql.connection import uses
from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.steps import Step, sha256_hex
from ledger.dialects.wording import label
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.apply import steps
from ledger.engines.mysql.apply.attempt import Attempt
from ledger.engines.mysql.lock.marker import Body
from ledger.engines.python import Parameters, Tenant, file_of, function_of, placed, verified
from ledger.errors import CheckFailedError, StepFailedError
from ledger.events import CheckResult
from ledger.scripts.touching import touched

_HINT = "Correct the migration and run the command again; what landed before stays."


class _Calls:
    """See engines.python.Calls: each statement is a step of the run, unless it has landed."""

    def __init__(self, attempt: Attempt, body: Body, file: str) -> None:
        self.steps = 0
        self._attempt = attempt
        self._file = file
        self._landed = {result.number: result.statement for result in body.steps}
        self._before = dict(body.before)
        self._last_landed = attempt.progress.step

    async def execute(self, sql: str, parameters: Parameters | None, name: str) -> None:
        attempt = self._attempt
        text = self._filled(sql, parameters)
        self.steps += 1
        kind = MYSQL.classify(text)
        step = Step(
            number=self.steps,
            name=name or label(kind),
            sql=text,
            file=self._file,
            line=0,
            sha256=sha256_hex(text),
        )
        if kind.kind == "transaction":
            raise StepFailedError(
                "a Python migration may not begin or end a transaction",
                step=step.number,
                hint="Leave it out: each statement of rows is a transaction of its own.",
            )
        refusal = uses(text).refusal
        if refusal is not None:
            raise StepFailedError(refusal[0], step=step.number, hint=refusal[1])
        if kind.kind == "session":
            attempt.opened.soil()
        elif uses(text).changes:
            attempt.opened.left_something()
        attempt.progress.kinds[step.number] = kind
        attempt.progress.touches |= touched((step,), "mysql")
        attempt.opened.reader.work_on(attempt.progress.touches)
        if step.number <= self._last_landed:
            self._require_same(step)
            await steps.replay(attempt, step, kind)
            return
        if step.number in attempt.announced:
            await steps.take_up(attempt, step, kind, attempt.announced[step.number], self._before)
        else:
            await steps.run(attempt, step, kind)
        if attempt.progress.unsaved:
            await attempt.save()

    async def fetch(self, sql: str, parameters: Parameters | None) -> list[tuple[object, ...]]:
        connection = self._attempt.opened.connection
        try:
            await connection.execute("START TRANSACTION READ ONLY")
            try:
                text = self._attempt.state.filled(self._filled(sql, parameters))
                rows = await connection.fetch(text, seconds=self._attempt.seconds())
            finally:
                await connection.rollback()
        except QueryError as error:
            raise StepFailedError(
                error.message,
                step=self.steps + 1,
                database_code=str(error.code),
                hint=_HINT,
                tenant=self._attempt.opened.tenant,
            ) from error
        return [tuple(row) for row in rows]

    def _filled(self, sql: str, parameters: Parameters | None) -> str:
        if isinstance(parameters, Mapping):
            raise TypeError("parameters have no names here: give a sequence, with %s in the text")
        return self._attempt.opened.connection.with_parameters(sql, parameters)

    def _require_same(self, step: Step) -> None:
        known = self._landed.get(step.number)
        if known is not None and known != step.sha256:
            raise StepFailedError(
                f"step {step.number} landed in an earlier attempt with another statement",
                step=step.number,
                hint="A Python migration that goes on must ask for the same statements in the same "
                "order; restore the tenant, or put the file back as it was.",
            )


async def run_module(attempt: Attempt, body: Body) -> tuple[CheckResult, ...]:
    """Run a Python migration to the end of its steps and its verify. Raises as Session.apply says."""
    work, migration = attempt.work, attempt.migration
    function = function_of(work, tenant=attempt.opened.tenant, migration=migration)
    tenant = Tenant(attempt.opened.target, _Calls(attempt, body, file_of(function)))
    verify = work.python.verify if work.python is not None and work.direction == "up" else None
    await attempt.state.begin(attempt.opened.connection)
    await attempt.state.restore(attempt.opened.connection)
    try:
        with placed(function, tenant, migration=migration, hint=_HINT):
            await function(tenant)
            await steps.end(attempt)
        tenant.finish_steps()
        if verify is None:
            return ()
        try:
            return (await verified(verify, tenant, migration=migration),)
        except CheckFailedError:
            await attempt.progress.save(attempt.opened.connection, reported=True)
            raise
    finally:
        tenant.close()
