"""Python migrations: `async def up(tenant)` inside one transaction, held over several hops.

Invariant: the function gets no way to commit; whatever it raises, and a
cancellation while it awaits something else, rolls everything back.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import anyio

from ledger.dialects.sqlite.pragmas import switches_foreign_keys
from ledger.drivers.sqlite import call
from ledger.engines.base import Done, Journal, StepResult, Work
from ledger.engines.sqlite.apply.settings import lacks
from ledger.engines.sqlite.apply.transaction import Attempt
from ledger.engines.sqlite.connection import foreign_keys_enforced
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.steps import controls_transaction, execute, read_only
from ledger.engines.sqlite.trouble import REFUSALS, code_name, described, hint_for, step_error
from ledger.errors import CheckFailedError, StepFailedError, TenantError
from ledger.events import CheckResult
from ledger.scripts.model import PythonCall, sha256_hex

T = TypeVar("T")
Parameters = Sequence[object] | Mapping[str, object]


class Tenant:
    """What a Python migration is given. `name`, `prefix` and `variables` are the tenant's."""

    def __init__(self, opened: Opened, stop: threading.Event) -> None:
        self.name = opened.inside.target.name
        self.prefix = opened.inside.target.prefix
        self.variables: Mapping[str, str] = dict(opened.inside.target.variables)
        self._opened = opened
        self._stop = stop
        self._results: list[StepResult] = []
        self._open = True
        self._writable = True

    async def execute(
        self, sql: str, parameters: Parameters | None = None, *, name: str = ""
    ) -> None:
        """Run one statement: a step, numbered as they come. Raises StepFailedError."""
        number = len(self._results) + 1

        def run(database: sqlite3.Connection) -> StepResult:
            started = time.perf_counter_ns()
            self._admit(database, sql)
            rows = execute(database, sql, parameters or ())
            self._admit(database, "")
            return StepResult(
                number=number,
                name=name,
                statement=sha256_hex(sql),
                duration_us=(time.perf_counter_ns() - started) // 1000,
                rows=rows,
            )

        if not self._writable:
            raise StepFailedError("verify may read only: use fetch", step=number)
        self._results.append(await self._call(run, number))

    async def fetch(
        self, sql: str, parameters: Parameters | None = None
    ) -> list[tuple[object, ...]]:
        """The rows of a query that cannot write. Raises StepFailedError."""

        def run(database: sqlite3.Connection) -> list[tuple[object, ...]]:
            self._admit(database, sql)
            with read_only(database):
                return database.execute(sql, parameters or ()).fetchall()

        return await self._call(run, len(self._results) + 1)

    @property
    def next_step(self) -> int:
        """The number that the next statement would have."""
        return len(self._results) + 1

    def finish_steps(self) -> list[StepResult]:
        """The steps there were; from here on only `fetch` works."""
        self._writable = False
        return list(self._results)

    def close(self) -> None:
        """No call works any more: a task that the migration left behind cannot write."""
        self._open = False

    def _admit(self, database: sqlite3.Connection, sql: str) -> None:
        if not database.in_transaction:
            raise sqlite3.OperationalError("the transaction has ended; nothing more can be run")
        if controls_transaction(sql):
            raise sqlite3.ProgrammingError("a Python migration may not begin or end a transaction")
        if lacks(database, sql):
            raise sqlite3.ProgrammingError(
                "this PRAGMA has no effect in a database that has been written to"
            )
        wanted = switches_foreign_keys(sql)
        if wanted is not None and wanted != foreign_keys_enforced(database):
            raise sqlite3.ProgrammingError(
                "PRAGMA foreign_keys does nothing inside a transaction;"
                f" write foreign_keys = {wanted} at the top of the file instead"
            )

    async def _call(self, function: Callable[[sqlite3.Connection], T], number: int) -> T:
        if not self._open:
            raise StepFailedError("the migration is over: await every call", step=number)
        try:
            return await call(self._opened.connection, function, stop=self._stop)
        except REFUSALS as error:
            raise step_error(error)(
                f"step {number}: {described(error)}",
                step=number,
                database_code=code_name(error),
                hint=hint_for(error),
                tenant=self.name,
            ) from error


async def apply(opened: Opened, work: Work, journal: Journal, known: frozenset[str]) -> Done:
    """Run a Python migration. Raises as Session.apply says."""
    module = work.python
    if module is None:
        raise TypeError("work.python is not set")
    function = module.up if work.direction == "up" else module.down
    attempt = Attempt(opened.inside, work)
    if function is None:
        raise TenantError(
            "the Python migration has no `down`",
            hint="Roll it back from its backup instead.",
            tenant=opened.tenant,
            migration=attempt.migration,
        )
    with attempt.named():
        await opened.run(attempt.open, doing=attempt.doing)
    if attempt.recovered:
        return attempt.report(journal, known)
    tenant = Tenant(opened, attempt.stop)
    verify = module.verify if work.direction == "up" else None
    try:
        with anyio.move_on_after(work.timeout_seconds) as scope:
            await _await(function, tenant, attempt)
            attempt.results = tenant.finish_steps()
            if verify is not None:
                attempt.checks += (await _verify(verify, tenant, attempt),)
        if scope.cancelled_caught:
            raise attempt.timed_out()
    except BaseException as error:
        await opened.reset(error)
        raise
    finally:
        tenant.close()
    with attempt.named():
        await opened.run(attempt.close, doing=attempt.doing, stop=attempt.stop)
    return attempt.report(journal, known)


async def _await(function: PythonCall, tenant: Tenant, attempt: Attempt) -> None:
    try:
        await function(tenant)
    except (Exception, SystemExit) as error:
        file, line = _place(function, error)
        failed = error if isinstance(error, StepFailedError) else None
        kind = type(failed) if failed else StepFailedError
        raise kind(
            failed.message if failed else f"{type(error).__name__}: {error}",
            step=failed.step if failed else tenant.next_step,
            database_code=failed.database_code if failed else "",
            hint=(failed.hint if failed else "")
            or "Correct the migration, then run the command again; nothing was changed.",
            tenant=attempt.tenant,
            migration=attempt.migration,
            file=file,
            line=line,
        ) from error


async def _verify(function: PythonCall, tenant: Tenant, attempt: Attempt) -> CheckResult:
    try:
        await function(tenant)
    except (Exception, SystemExit) as error:
        file, line = _place(function, error)
        what = str(error) or type(error).__name__
        raise CheckFailedError(
            f"check 'verify' failed: {what}",
            hint="Correct the migration or the data, then run the command again.",
            tenant=attempt.tenant,
            migration=attempt.migration,
            file=file,
            line=line,
        ) from error
    return CheckResult(name="verify", passed=True)


def _place(function: PythonCall, error: BaseException) -> tuple[str | None, int | None]:
    """The innermost line of the migration's own file that the error came through."""
    code = getattr(function, "__code__", None)
    file = code.co_filename if code is not None else None
    line: int | None = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return file, line
