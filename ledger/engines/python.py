"""Python migrations: what is the same on every engine.

Invariant: once the function has returned, the tenant that it was given does nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from ledger.engines.base import Target
from ledger.engines.work import Work
from ledger.errors import CheckFailedError, LedgerError, StepFailedError, TenantError
from ledger.events import CheckResult
from ledger.scripts.model import PythonCall

Parameters = Sequence[object] | Mapping[str, object]


class Calls(Protocol):
    """How an engine runs what the function asks for. `steps` counts the statements so far."""

    @property
    def steps(self) -> int:
        """The number of the last step."""
        ...

    async def execute(self, sql: str, parameters: Parameters | None, name: str) -> None:
        """Run one statement as the next step. Raises TenantError."""
        ...

    async def fetch(self, sql: str, parameters: Parameters | None) -> list[tuple[object, ...]]:
        """The rows of a query that cannot write; empty without rows. Raises StepFailedError."""
        ...


class Tenant:
    """What a Python migration is given. `name`, `prefix` and `variables` are the tenant's."""

    def __init__(self, target: Target, calls: Calls) -> None:
        self.name = target.name
        self.prefix = target.prefix
        self.variables: Mapping[str, str] = dict(target.variables)
        self._calls = calls
        self._open = True
        self._writable = True

    async def execute(
        self, sql: str, parameters: Parameters | None = None, *, name: str = ""
    ) -> None:
        """Run one statement: a step, numbered as they come. Raises TenantError."""
        self._require_open()
        if not self._writable:
            raise StepFailedError("verify may read only: use fetch", step=self.next_step)
        await self._calls.execute(sql, parameters, name)

    async def fetch(
        self, sql: str, parameters: Parameters | None = None
    ) -> list[tuple[object, ...]]:
        """The rows of a query that cannot write; empty without rows. Raises StepFailedError."""
        self._require_open()
        return await self._calls.fetch(sql, parameters)

    @property
    def next_step(self) -> int:
        """The number that the next statement would have."""
        return self._calls.steps + 1

    def finish_steps(self) -> None:
        """From here on only `fetch` works."""
        self._writable = False

    def close(self) -> None:
        """No call works any more: a task that the migration left behind cannot write."""
        self._open = False

    def _require_open(self) -> None:
        if not self._open:
            raise StepFailedError("the migration is over: await every call", step=self.next_step)


def function_of(work: Work, *, tenant: str, migration: str) -> PythonCall:
    """The work's `up` or `down`. Raises TenantError if there is none."""
    if work.python is None:
        raise TypeError("work.python is not set")
    function = work.python.up if work.direction == "up" else work.python.down
    if function is None:
        raise TenantError(
            "the Python migration has no `down`",
            hint="Roll it back from its backup instead.",
            tenant=tenant,
            migration=migration,
        )
    return function


@contextmanager
def placed(function: PythonCall, tenant: Tenant, *, migration: str, hint: str) -> Iterator[None]:
    """Errors of the block leave as LedgerError that names the line of the migration's file they passed.

    What the function itself raises is a StepFailedError.
    """
    try:
        yield
    except LedgerError as error:
        if isinstance(error, StepFailedError):
            error.hint = error.hint or hint
        _place(error, function, tenant, migration, error.__traceback__)
        raise
    except (Exception, SystemExit) as error:
        failed = StepFailedError(
            f"{type(error).__name__}: {error}", step=tenant.next_step, hint=hint
        )
        _place(failed, function, tenant, migration, error.__traceback__)
        raise failed from error


async def verified(function: PythonCall, tenant: Tenant, *, migration: str) -> CheckResult:
    """Run the migration's `verify`. Raises CheckFailedError if it raises anything."""
    try:
        await function(tenant)
    except (Exception, SystemExit) as error:
        failed = CheckFailedError(
            f"check 'verify' failed: {str(error) or type(error).__name__}",
            hint="Correct the migration or the data, then run the command again.",
        )
        _place(failed, function, tenant, migration, error.__traceback__)
        raise failed from error
    return CheckResult(name="verify", passed=True)


def file_of(function: PythonCall) -> str:
    """The file that defines it; empty for what is no function."""
    code = getattr(function, "__code__", None)
    return code.co_filename if code is not None else ""


def _place(
    error: LedgerError,
    function: PythonCall,
    tenant: Tenant,
    migration: str,
    trace: TracebackType | None,
) -> None:
    error.tenant = error.tenant or tenant.name
    error.migration = error.migration or migration
    error.file = file_of(function) or None
    error.line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == error.file:
            error.line = trace.tb_lineno
        trace = trace.tb_next
