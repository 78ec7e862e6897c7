"""Sections with `transaction:false`: each statement commits on its own, with the marker.

Invariant: the marker's `step` says how many statements have landed. A statement
that can be in a transaction commits together with that number; one that cannot
(VACUUM, PRAGMA, ATTACH) can be repeated, and the number follows it. Nothing is run
that names a temporary table of a connection that is gone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import anyio
import msgspec

from ledger import failpoints
from ledger.dialects.kinds import StatementKind
from ledger.dialects.sqlite.dialect import SQLITE
from ledger.dialects.sqlite.pragmas import read_pragma, switches_foreign_keys
from ledger.dialects.sqlite.syntax import SYNTAX
from ledger.dialects.steps import Step
from ledger.engines.measured import Measured
from ledger.engines.sqlite.apply.transaction import Attempt, recovered
from ledger.engines.sqlite.apply.vacuum import forget_partial, vacuum_into, writes_file
from ledger.engines.sqlite.marker import (
    CREATE_MARKER,
    admit,
    own_entry,
    put_entry,
    put_fence,
    read_marker,
)
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.steps import (
    OF_CONNECTION,
    begin_immediate,
    commit,
    controls_transaction,
    first_words,
    go_on,
    run_step,
    snapshot,
)
from ledger.engines.sqlite.trouble import REFUSALS, BusyError, is_busy, step_failed
from ledger.engines.work import Done, Journal, MarkerEntry, StepResult, Work

_BARE: Final = frozenset(("VACUUM", "PRAGMA", "ATTACH", "DETACH"))
"""What SQLite refuses, or ignores, inside a transaction. All may be repeated."""

_IN_DATABASE: Final = frozenset(
    ("application_id", "user_version", "schema_version", "incremental_vacuum", "optimize",
     "wal_checkpoint", "integrity_check", "quick_check", "foreign_key_check")
)  # fmt: skip
"""Pragmas that leave nothing in the connection."""


class Unit(msgspec.Struct, frozen=True):
    """Statements that commit together: one, or a file's own BEGIN … COMMIT."""

    steps: tuple[Step, ...]
    bare: bool = False


async def apply(opened: Opened, work: Work, journal: Journal, known: frozenset[str]) -> Done:
    """Run what is left of the section, step by step. Raises as Session.apply says."""
    attempt = Attempt(opened.inside, work)
    steps = Stepwise(attempt)
    units = list(_units(attempt))
    deadline = anyio.current_time() + (work.timeout_seconds or 0.0)

    async def run(function: Callable[[sqlite3.Connection], None]) -> None:
        left = None
        if work.timeout_seconds is not None:
            left = max(0.001, deadline - anyio.current_time())
        with attempt.named(landed=lambda: steps.landed):
            await opened.run(function, doing=attempt.doing, stop=attempt.stop, timeout_seconds=left)

    await run(steps.open)
    if attempt.recovered:
        return attempt.report(journal, known)
    landed = of = 0

    async def run_all(units: Sequence[Unit | None]) -> None:
        nonlocal landed
        for unit in units:
            if unit is not None and unit.steps[-1].number > steps.landed:
                await run(partial(steps.run, unit))
            for result in attempt.results[landed:]:
                journal.landed(msgspec.structs.replace(result, of=of) if of else result)
            landed = len(attempt.results)

    await run_all([None, *units])
    if work.sync:
        await run(steps.plan_sync)
        of = landed + len(steps.sync)
        await run_all([Unit((step,)) for step in steps.sync])
    await run(steps.close)
    return attempt.sum_up(known)


class Stepwise:
    """A section on its way, one commit after another. Its methods run in the thread.

    Each may be called again after a BusyError, and then goes on where it was.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._work = attempt.work
        self._pending: list[StepResult] = []
        self._lost: set[str] = set()
        self.sync: tuple[Step, ...] = ()

    @property
    def landed(self) -> int:
        """The number of the last statement that the marker calls landed."""
        results = self._attempt.results
        return results[-1].number if results else 0

    def open(self, database: sqlite3.Connection) -> None:
        """Fence the tenant, and take up what an earlier attempt has left."""
        attempt = self._attempt
        if not database.in_transaction:
            attempt.begin(database)
            if attempt.recovered:
                attempt.read_found(database)
                return
            entry = own_entry(attempt.marker, self._work)
            if entry and (entry.state, entry.direction) == ("running", self._work.direction):
                attempt.results = recovered(entry.steps)
                attempt.measured = entry.measured or Measured()
            if attempt.measured.references is None:
                attempt.measure_references(database)
            self._write(database)
        commit(database)
        for step in self._work.section.steps[: self.landed]:
            self._pass(database, step)

    def run(self, unit: Unit, database: sqlite3.Connection) -> None:
        """Run a unit, and count it in the marker."""
        if unit.bare:
            if not self._pending:
                self._pending = [self._run_one(database, unit.steps[0])]
                failpoints.reach("engine.after_statement")
            if not database.in_transaction:
                self._begin(database)
                self._land(database)
        elif not database.in_transaction:
            self._begin(database)
            self._pending = [self._run_one(database, step) for step in unit.steps]
            self._land(database)
        commit(database)
        self._pending = []
        failpoints.reach("engine.after_marker")
        if writes_file(unit.steps[0]):
            forget_partial(database, unit.steps[0])

    def plan_sync(self, database: sqlite3.Connection) -> None:
        """What the tenant lacks of the sync section now; what an earlier attempt added is there already."""
        with snapshot(database):
            self.sync = self._attempt.lacking(database, after=self.landed)

    def close(self, database: sqlite3.Connection) -> None:
        """Foreign keys, checks, and the end of the entry."""
        attempt = self._attempt
        attempt.landed = self.landed > 0
        if not attempt.sealed:
            self._begin(database)
            attempt.require_foreign_keys(database)
            attempt.seal(database)
        attempt.finish(database)
        attempt.inside.clean_up(database)

    def _begin(self, database: sqlite3.Connection) -> None:
        """The write lock, and the fence looked at again: each commit is one that may come too late."""
        begin_immediate(database)
        marker = read_marker(database, tenant=self._attempt.tenant)
        admit(marker, epoch=self._work.epoch, ledger=self._work.ledger, tenant=self._attempt.tenant)

    def _land(self, database: sqlite3.Connection) -> None:
        self._attempt.results += self._pending
        failpoints.reach("engine.before_marker")
        self._write(database)

    def _write(self, database: sqlite3.Connection) -> None:
        work = self._work
        database.execute(CREATE_MARKER)
        put_fence(database, None, epoch=work.epoch, ledger=work.ledger)
        put_entry(
            database,
            MarkerEntry(
                ref=work.ref,
                state="running",
                direction=work.direction,
                step=self.landed,
                epoch=work.epoch,
                steps=tuple(self._attempt.results),
                measured=self._attempt.measured,
            ),
        )

    def _pass(self, database: sqlite3.Connection, step: Step) -> None:
        """A step that landed in an earlier attempt: what its connection had of it is made anew, or lost."""
        kind = SQLITE.classify(step.sql)
        name = temporary_name(kind)
        if name and kind.makes("table"):
            self._lost.add(name)
        elif kind.verb == "DROP":
            self._lost -= {_bare(name) for name in kind.names}
        if writes_file(step):
            forget_partial(database, step)
        elif _is_lost(step) or (name and kind.makes("view", "trigger")):
            self._run_one(database, step)

    def _already_gone(self, step: Step) -> bool:
        """Whether all that it drops are temporary tables, which ended with their connection."""
        kind = SQLITE.classify(step.sql)
        dropped = {_bare(name) for name in kind.names} if kind.verb == "DROP" else set()
        gone = bool(dropped) and dropped <= self._lost
        self._lost -= dropped
        return gone

    def _require_known(self, step: Step) -> None:
        """Raises StepFailedError for a step that names a temporary table of a lost connection."""
        made = temporary_name(SQLITE.classify(step.sql))
        self._lost.discard(made)
        words = {token.text.lower() for token in SYNTAX.tokens(step.sql)} if self._lost else set()
        if lost := sorted(self._lost & words):
            raise self._attempt.failed(
                step,
                f"step {step.number} ({step.name}) reads the temporary table {lost[0]}, which ended"
                " with the connection of an earlier attempt",
                hint="Restore the tenant from its backup, and make the table an ordinary one.",
            )

    def _run_one(self, database: sqlite3.Connection, step: Step) -> StepResult:
        go_on(self._attempt.stop)
        self._attempt.step = step
        done = StepResult(number=step.number, name=step.name, statement=step.sha256)
        if self._lost:
            if self._already_gone(step):
                return done
            self._require_known(step)
        try:
            if controls_transaction(step.sql):
                return done
            if writes_file(step):
                vacuum_into(database, step)
                return done
            result = run_step(database, step)
            if first_words(step.sql)[0] == "PRAGMA":
                self._attempt.inside.keep_durable(database)
            return result
        except REFUSALS as error:
            if is_busy(error) and not database.in_transaction:
                raise BusyError from error
            raise step_failed(
                error,
                step,
                tenant=self._attempt.tenant,
                migration=self._attempt.migration,
                landed=self.landed > 0,
                direction=self._work.direction,
            ) from error


def temporary_name(kind: StatementKind) -> str:
    """What a statement makes for its connection alone, in small letters; empty if nothing."""
    schema = kind.target.rpartition(".")[0].lower()
    made = kind.verb == "CREATE" and (kind.temporary or schema == "temp")
    return _bare(kind.target) if made else ""


def _bare(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _is_lost(step: Step) -> bool:
    """Whether a later statement may need what this one left in a connection that is gone.

    What a PRAGMA has written into the database is there, and may have changed since.
    """
    if first_words(step.sql)[0] not in OF_CONNECTION:
        return False
    pragma = read_pragma(step.sql)
    return pragma is None or pragma.name not in _IN_DATABASE


def _units(attempt: Attempt) -> Iterator[Unit]:
    """What commits together. Raises StepFailedError for a BEGIN without its COMMIT, or a ROLLBACK,
    and for a PRAGMA foreign_keys that SQLite would ignore between the two."""
    group: list[Step] = []
    enforced = attempt.inside.foreign_keys
    for step in attempt.work.section.steps:
        switched = switches_foreign_keys(step.sql)
        if group and switched not in (None, enforced):
            raise attempt.failed(
                step,
                f"step {step.number}: PRAGMA foreign_keys does nothing between BEGIN and COMMIT",
                hint="Write it before BEGIN.",
            )
        enforced = enforced if switched is None else switched
        word = first_words(step.sql)[0]
        if controls_transaction(step.sql):
            if (word == "BEGIN") == bool(group) or word == "ROLLBACK":
                raise attempt.refused(step, f"is a {word} that has no place here")
            group.append(step)
            if word != "BEGIN":
                yield Unit(tuple(group))
                group = []
        elif group:
            group.append(step)
        else:
            yield Unit((step,), bare=word in _BARE)
    if group:
        raise attempt.refused(group[0], "is a BEGIN without its COMMIT")
