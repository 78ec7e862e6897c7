"""Python migrations: `async def up(tenant)` inside one transaction, held over several hops.

Invariant: the function gets no way to commit; whatever it raises, and a
cancellation while it awaits something else, rolls everything back.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import anyio

from ledger.dialects.sqlite.dialect import SQLITE
from ledger.dialects.sqlite.pragmas import switches_foreign_keys
from ledger.dialects.steps import sha256_hex
from ledger.drivers.sqlite import call
from ledger.engines.python import Parameters, Tenant, function_of, placed, verified
from ledger.engines.sqlite.apply.settings import lacks
from ledger.engines.sqlite.apply.transaction import Attempt
from ledger.engines.sqlite.connection import foreign_keys_enforced
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.steps import (
    controls_transaction,
    execute,
    may_find,
    object_type,
    read_only,
)
from ledger.engines.sqlite.trouble import REFUSALS, code_name, described, hint_for, step_error
from ledger.engines.work import Done, Journal, StepResult, Work
from ledger.scripts.created import effects_of

T = TypeVar("T")

_HINT = "Correct the migration, then run the command again; nothing was changed."


class _Calls:
    """See engines.python.Calls: statements in the connection's thread, until `stop` is set."""

    def __init__(self, opened: Opened, stop: threading.Event) -> None:
        self.results: list[StepResult] = []
        self._opened = opened
        self._stop = stop

    @property
    def steps(self) -> int:
        return len(self.results)

    async def execute(self, sql: str, parameters: Parameters | None, name: str) -> None:
        def run(database: sqlite3.Connection) -> StepResult:
            started = time.perf_counter_ns()
            _admit(database, sql)
            kind = SQLITE.classify(sql)
            name = may_find(sql)
            existed = bool(object_type(database, name)) if name else None
            rows = execute(database, sql, parameters or ())
            _admit(database, "")
            return StepResult(
                number=self.steps + 1,
                name=name,
                statement=sha256_hex(sql),
                duration_us=(time.perf_counter_ns() - started) // 1000,
                rows=rows,
                existed=existed,
                effects=effects_of(kind, SQLITE, existed=bool(existed)),
            )

        self.results.append(await self._call(run))

    async def fetch(self, sql: str, parameters: Parameters | None) -> list[tuple[object, ...]]:
        def run(database: sqlite3.Connection) -> list[tuple[object, ...]]:
            _admit(database, sql)
            with read_only(database):
                return database.execute(sql, parameters or ()).fetchall()

        return await self._call(run)

    async def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        number = self.steps + 1
        try:
            return await call(self._opened.connection, function, stop=self._stop)
        except REFUSALS as error:
            raise step_error(error)(
                f"step {number}: {described(error)}",
                step=number,
                database_code=code_name(error),
                hint=hint_for(error),
                tenant=self._opened.tenant,
            ) from error


def _admit(database: sqlite3.Connection, sql: str) -> None:
    """Raises sqlite3.Error for a statement that could not do what it says inside the transaction."""
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


async def apply(opened: Opened, work: Work, journal: Journal, known: frozenset[str]) -> Done:
    """Run a Python migration. Raises as Session.apply says."""
    attempt = Attempt(opened.inside, work)
    migration = attempt.migration
    function = function_of(work, tenant=opened.tenant, migration=migration)
    with attempt.named():
        await opened.run(attempt.open, doing=attempt.doing)
    if attempt.recovered:
        return attempt.report(journal, known)
    calls = _Calls(opened, attempt.stop)
    tenant = Tenant(opened.inside.target, calls)
    verify = work.python.verify if work.python is not None and work.direction == "up" else None
    try:
        with anyio.move_on_after(work.timeout_seconds) as scope:
            with placed(function, tenant, migration=migration, hint=_HINT):
                await function(tenant)
            tenant.finish_steps()
            attempt.results = list(calls.results)
            if verify is not None:
                attempt.checks += (await verified(verify, tenant, migration=migration),)
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
