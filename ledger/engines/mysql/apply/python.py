"""Python migrations: `async def up(tenant)`, each `await tenant.execute(sql)` a step of its own.

The marker is written after each step, with the statement's hash: a run that goes
on after a crash calls the function anew, and statements that have landed are not
run again. Invariant: a statement that differs from what landed in its place stops
the tenant; the function must ask the same in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

from ledger.dialects.mysql.connection import uses
from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.wording import label
from ledger.drivers.mysql import QueryError
from ledger.engines.mysql.apply.run import Run
from ledger.engines.mysql.lock.marker import Body
from ledger.errors import CheckFailedError, LedgerError, StepFailedError, TenantError
from ledger.events import CheckResult
from ledger.scripts.model import PythonCall, Step, sha256_hex

_HINT = "Correct the migration and run the command again; what landed before stays."


class Tenant:
    """What a Python migration is given. `name`, `prefix` and `variables` are the tenant's."""

    def __init__(self, run: Run, body: Body, file: str) -> None:
        target = run.opened.target
        self.name = target.name
        self.prefix = target.prefix
        self.variables: Mapping[str, str] = dict(target.variables)
        self._run = run
        self._file = file
        self._landed = {result.number: result.statement for result in body.steps}
        self._before = dict(body.before)
        self._last_landed = run.progress.step
        self._number = 0
        self._open = True
        self._writable = True

    async def execute(
        self, sql: str, parameters: Sequence[object] | None = None, *, name: str = ""
    ) -> None:
        """Run one statement: a step, numbered as they come. Raises TenantError."""
        self._require(writable=True)
        run = self._run
        text = run.opened.connection.with_parameters(sql, parameters)
        self._number += 1
        kind = MYSQL.classify(text)
        step = Step(
            number=self._number,
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
                tenant=self.name,
            )
        refusal = uses(text).refusal
        if refusal is not None:
            raise StepFailedError(refusal[0], step=step.number, hint=refusal[1], tenant=self.name)
        if kind.kind == "session":
            run.opened.soil()
        elif uses(text).changes:
            run.opened.left_something()
        if step.number <= self._last_landed:
            self._require_same(step)
            await run.replay(step, kind)
            return
        intent = run.work.intent
        if intent is not None and intent.step == step.number:
            await run.take_up(step, kind, intent, self._before)
        else:
            await run.run(step, kind)
        if run.progress.unsaved:
            await run.save()

    async def fetch(
        self, sql: str, parameters: Sequence[object] | None = None
    ) -> list[tuple[object, ...]]:
        """The rows of a query in a transaction that cannot write. Raises StepFailedError."""
        self._require(writable=False)
        connection = self._run.opened.connection
        try:
            await connection.execute("START TRANSACTION READ ONLY")
            try:
                text = self._run.state.filled(connection.with_parameters(sql, parameters))
                rows = await connection.fetch(text, seconds=self._run.seconds())
            finally:
                await connection.rollback()
        except QueryError as error:
            raise StepFailedError(
                error.message,
                step=self._number + 1,
                database_code=str(error.code),
                hint=_HINT,
                tenant=self.name,
            ) from error
        return [tuple(row) for row in rows]

    @property
    def next_step(self) -> int:
        """The number that the next statement would have."""
        return self._number + 1

    def finish_steps(self) -> None:
        """From here on only `fetch` works."""
        self._writable = False

    def close(self) -> None:
        """No call works any more: a task that the migration left behind cannot write."""
        self._open = False

    def _require(self, *, writable: bool) -> None:
        if not self._open:
            raise StepFailedError("the migration is over: await every call", step=self.next_step)
        if writable and not self._writable:
            raise StepFailedError("verify may read only: use fetch", step=self.next_step)

    def _require_same(self, step: Step) -> None:
        known = self._landed.get(step.number)
        if known is not None and known != step.sha256:
            raise StepFailedError(
                f"step {step.number} landed in an earlier attempt with another statement",
                step=step.number,
                hint="A Python migration that goes on must ask for the same statements in the same "
                "order; restore the tenant, or put the file back as it was.",
                tenant=self.name,
            )


async def run_module(run: Run, body: Body) -> tuple[CheckResult, ...]:
    """Run a Python migration to the end of its steps and its verify. Raises as Session.apply says."""
    module = run.work.python
    if module is None:
        raise TypeError("work.python is not set")
    function = module.up if run.work.direction == "up" else module.down
    if function is None:
        raise TenantError(
            "the Python migration has no `down`",
            hint="Roll it back from its backup instead.",
            tenant=run.opened.tenant,
            migration=run.migration,
        )
    tenant = Tenant(run, body, _file_of(function))
    await run.state.begin(run.opened.connection)
    await run.restore()
    verify = module.verify if run.work.direction == "up" else None
    try:
        await _steps(function, tenant, run)
        tenant.finish_steps()
        return (await _verify(verify, tenant, run),) if verify is not None else ()
    finally:
        tenant.close()


async def _steps(function: PythonCall, tenant: Tenant, run: Run) -> None:
    try:
        await function(tenant)
        await run.end()
    except LedgerError as error:
        _place(error, function, run)
        raise
    except (Exception, SystemExit) as error:
        failed = StepFailedError(
            f"{type(error).__name__}: {error}",
            step=tenant.next_step,
            hint=_HINT,
            tenant=run.opened.tenant,
        )
        failed.__traceback__ = error.__traceback__
        _place(failed, function, run)
        raise failed from error


async def _verify(function: PythonCall, tenant: Tenant, run: Run) -> CheckResult:
    try:
        await function(tenant)
    except (Exception, SystemExit) as error:
        await run.progress.save(run.opened.connection, told=True)
        failed = CheckFailedError(
            f"check 'verify' failed: {error or type(error).__name__}",
            hint="Correct the migration or the data, then run the command again.",
            tenant=run.opened.tenant,
        )
        failed.__traceback__ = error.__traceback__
        _place(failed, function, run)
        raise failed from error
    return CheckResult(name="verify", passed=True)


def _file_of(function: PythonCall) -> str:
    code = getattr(function, "__code__", None)
    return code.co_filename if code is not None else ""


def _place(error: LedgerError, function: PythonCall, run: Run) -> None:
    """Name the innermost line of the migration's own file that the error came through."""
    error.migration = error.migration or run.migration
    error.file = _file_of(function) or None
    error.line = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == error.file:
            error.line = trace.tb_lineno
        trace = trace.tb_next
