"""A whole migration as one transaction, in one hop to the connection's thread.

Invariant: fence, statements, foreign keys, checks and marker entry commit
together or not at all; the journal hears of a step only after that commit.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from ledger import failpoints
from ledger.dialects.steps import Step
from ledger.engines.checks import require_checks
from ledger.engines.entries import require_expected, with_sync
from ledger.engines.measured import Measured, References
from ledger.engines.sqlite.apply.references import any_dangles, dangling, new_since, violated
from ledger.engines.sqlite.apply.settings import require_effect, set_in_new_file
from ledger.engines.sqlite.folders import sync_found
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.marker import (
    CREATE_MARKER,
    admit,
    drop_entry,
    own_entry,
    put_entry,
    put_fence,
    put_settled,
    read_marker,
)
from ledger.engines.sqlite.opened import Opened
from ledger.engines.sqlite.schema import sync
from ledger.engines.sqlite.steps import (
    RELOAD_SCHEMA,
    begin_immediate,
    commit,
    controls_transaction,
    go_on,
    only_adds,
    roll_back,
    run_checks,
    run_step,
    writes_schema,
)
from ledger.engines.sqlite.trouble import REFUSALS, described, hint_for, left_behind, step_failed
from ledger.engines.work import MORE_TIME, Done, Journal, Marker, MarkerEntry, StepResult, Work
from ledger.errors import CheckFailedError, DiskFullError, StepFailedError, UnreachableError
from ledger.events import CheckResult, Mark
from ledger.schema import Schema


async def apply(opened: Opened, work: Work, journal: Journal, known: frozenset[str]) -> Done:
    """Apply or undo a migration. Raises as Session.apply says."""
    attempt = Attempt(opened.inside, work)
    with attempt.named():
        await opened.run(
            attempt.go,
            doing=attempt.doing,
            stop=attempt.stop,
            timeout_seconds=work.timeout_seconds,
        )
    return attempt.report(journal, known)


class Attempt:
    """One migration on its way to its commit. All methods but the last ones, which report, run in the thread."""

    def __init__(self, inside: Inside, work: Work) -> None:
        self.inside = inside
        self.work = work
        self.tenant = inside.tenant
        self.migration = work.ref.id
        self.stop = threading.Event()
        self.step: Step | None = None
        self.results: list[StepResult] = []
        self.checks: tuple[CheckResult, ...] = ()
        self.recovered = False
        self.desired: sync.Desired | None = None
        self.marker = Marker()
        self._mark = Mark()
        self._schema = Schema()
        self._read: tuple[str, Schema] | None = None
        self.sealed = False
        self.measured = Measured()
        self.landed = False

    @property
    def doing(self) -> str:
        """Completes "cannot …"."""
        return f"{'apply' if self.work.direction == 'up' else 'undo'} {self.migration}"

    def go(self, database: sqlite3.Connection) -> None:
        """Everything. May be called again after a BusyError."""
        if not self.sealed:
            self.begin(database)
            if self.recovered:
                self.read_found(database)
                return
            self._run(database)
            self.seal(database)
        self.finish(database)

    def open(self, database: sqlite3.Connection) -> None:
        """For a Python migration: begin, and leave the transaction open for it."""
        self.begin(database)
        if self.recovered:
            self.read_found(database)
        else:
            self.measure_references(database)

    def close(self, database: sqlite3.Connection) -> None:
        """For a Python migration: what follows its own statements. May be called again when busy."""
        if not self.sealed:
            self.require_transaction(database)
            self.require_foreign_keys(database)
            self.seal(database)
        self.finish(database)

    def require_transaction(self, database: sqlite3.Connection) -> None:
        """Raises StepFailedError if SQLite has ended the transaction on its own."""
        if not database.in_transaction:
            raise StepFailedError(
                "SQLite rolled the transaction back during the migration",
                step=len(self.results),
                hint="Do not catch the errors of tenant.execute.",
                tenant=self.tenant,
                migration=self.migration,
            )

    def begin(self, database: sqlite3.Connection) -> None:
        """Take the write lock, see whether we may, and have to, do anything, and set the fence."""
        work, inside = self.work, self.inside
        wanted = work.section.foreign_keys
        if wanted is not None and wanted != inside.foreign_keys:
            inside.set_foreign_keys(database, wanted)
        set_in_new_file(database, inside.path, work.section)
        begin_immediate(database)
        marker = read_marker(database, tenant=self.tenant)
        admit(marker, epoch=work.epoch, ledger=work.ledger, tenant=self.tenant)
        require_expected(marker.entries, work.ref, work.expected, tenant=self.tenant)
        self.marker = marker
        entry = own_entry(marker, work)
        if work.direction == "up" and entry and (entry.state, entry.direction) == ("applied", "up"):
            self.recovered = True
            self.results = recovered(entry.steps)
            self.checks = entry.checks
            self.measured = entry.measured or Measured()
        elif work.direction == "down" and entry is None:
            self.recovered = True
            self.results = [
                StepResult(
                    number=step.number, name=step.name, statement=step.sha256, recovered=True
                )
                for step in work.section.steps
            ]
        else:
            self.measured = Measured(bytes=inside.size(database), plans=work.plans)
            if entry is None:
                require_effect(database, work.section, tenant=self.tenant, migration=self.migration)
            # The first write is ours: BEGIN IMMEDIATE succeeds on a read-only file, and the
            # user's first step is not to be blamed for it.
            database.execute(CREATE_MARKER)
            put_fence(database, marker, epoch=work.epoch, ledger=work.ledger)

    def read_found(self, database: sqlite3.Connection) -> None:
        """Nothing is to do: read the mark, and leave all as it is; what was found is as durable as our own."""
        self._mark, self._schema = self.inside.marked(database)
        self.inside.clean_up(database)
        try:
            sync_found(self.inside.path)
        except OSError as error:
            raise UnreachableError(
                f"what an earlier run has applied cannot be made durable: {error}",
                hint=f"Look at the disk of {self.inside.path}, then run the command again.",
                tenant=self.tenant,
            ) from error
        self._mark = self.inside.complete(self._mark)

    def measure_references(self, database: sqlite3.Connection) -> None:
        """Remember which foreign keys dangle before the migration: those are not its fault."""
        if self.work.section.foreign_key_check:
            self.measured = msgspec.structs.replace(self.measured, references=dangling(database))

    def _run(self, database: sqlite3.Connection) -> None:
        """The steps, until foreign keys are no worse than before.

        What was there before is counted only if something dangles afterwards,
        since that is rare and the count reads every child table.
        """
        self._run_steps(database)
        if not self._may_dangle(database):
            return
        roll_back(database)
        self.begin(database)
        self.measure_references(database)
        self._run_steps(database)
        self.require_foreign_keys(database)

    def _run_steps(self, database: sqlite3.Connection) -> None:
        self.results = []
        for step in self._steps(database):
            go_on(self.stop)
            self.step = step
            if controls_transaction(step.sql):
                raise self.refused(step, "begins or ends a transaction")
            try:
                result = run_step(database, step)
            except REFUSALS as error:
                raise step_failed(
                    error,
                    step,
                    tenant=self.tenant,
                    migration=self.migration,
                    direction=self.work.direction,
                ) from error
            if not database.in_transaction:
                raise self.refused(step, "ended the transaction")
            if not self.results:
                failpoints.reach("engine.in_transaction")
            self.results.append(result)

    def _steps(self, database: sqlite3.Connection) -> Iterator[Step]:
        """The section's; then, once those have run, what the tenant lacks of the sync section."""
        yield from self.work.section.steps
        if self.work.sync:
            yield from self.lacking(database, after=len(self.work.section.steps))

    def lacking(self, database: sqlite3.Connection, *, after: int) -> tuple[Step, ...]:
        """What the sync section comes to now, inside a transaction. Raises StepFailedError."""
        live = self.inside.cache.read(database)[1]
        return sync.plan(self._made_desired(), live, after=after).steps

    def _made_desired(self) -> sync.Desired:
        if self.desired is None:
            self.desired = sync.make(
                self.work.sync,
                self.inside.cache,
                tenant=self.tenant,
                migration=self.migration,
                application=self.inside.target.application,
            )
        return self.desired

    def _may_dangle(self, database: sqlite3.Connection) -> bool:
        """Whether some foreign key dangles that may not have done so before.

        Steps that only add can leave none; that the schema's foreign keys can be followed
        at all (their parents are unique) is the same for all tenants that have it.
        """
        cache, work = self.inside.cache, self.work
        steps = (*work.section.steps, *work.sync)
        if work.python is not None or any(writes_schema(step.sql) for step in steps):
            database.execute(RELOAD_SCHEMA)
        self._read = cache.read(database)
        found, _ = self._read
        if not work.section.foreign_key_check or (found in cache.sound and self._only_adds()):
            return False
        if any_dangles(database):
            return True
        cache.sound.add(found)
        return False

    def _only_adds(self) -> bool:
        work = self.work
        own = not work.sync and work.python is None
        return own and all(only_adds(step.sql) for step in work.section.steps)

    def require_foreign_keys(self, database: sqlite3.Connection) -> None:
        """Raises CheckFailedError if foreign keys dangle that did not before."""
        if not self._may_dangle(database):
            return
        before = self.measured.references or References()
        new = new_since(dangling(database), before)
        if new:
            raise violated(
                new, before, tenant=self.tenant, migration=self.migration, landed=self.landed
            )

    def seal(self, database: sqlite3.Connection) -> None:
        """The checks, then entry and mark: the transaction is ready to commit."""
        work = self.work
        if work.checks:
            results = run_checks(database, work.checks, self.stop)
            require_checks(results, work.checks, tenant=self.tenant, migration=self.migration)
            self.checks += results
        go_on(self.stop)
        failpoints.reach("engine.before_marker")
        put_settled(database, self.marker, work.expected)
        if work.direction == "down":
            drop_entry(database, work.ref)
        else:
            put_entry(
                database,
                MarkerEntry(
                    ref=work.ref,
                    state="applied",
                    direction="up",
                    step=len(self.results),
                    epoch=work.epoch,
                    steps=with_sync(self.results, work) if work.sync else tuple(self.results),
                    checks=self.checks,
                    measured=msgspec.structs.replace(self.measured, references=None),
                ),
            )
        self._mark, self._schema = self.inside.marked(database, self._read)
        self.sealed = True

    def finish(self, database: sqlite3.Connection) -> None:
        """COMMIT, and the settings as they were."""
        self.inside.require_in_place()
        try:
            commit(database)
        except sqlite3.IntegrityError as error:
            raise CheckFailedError(
                f"foreign keys are violated: the COMMIT is refused: {described(error)}",
                hint=hint_for(error),
                tenant=self.tenant,
                migration=self.migration,
            ) from error
        failpoints.reach("engine.after_commit")
        wanted = self.work.section.foreign_keys
        if wanted is not None and wanted != self.inside.foreign_keys:
            self.inside.set_foreign_keys(database, self.inside.foreign_keys)
        self._mark = self.inside.complete(self._mark)

    def report(self, journal: Journal, known: frozenset[str]) -> Done:
        """After the commit: report to the journal, and sum up."""
        of = len(self.results) if self.work.sync else 0
        for result in self.results:
            journal.landed(msgspec.structs.replace(result, of=of) if of else result)
        return self.sum_up(known)

    def sum_up(self, known: frozenset[str]) -> Done:
        """The migration's end; the schema only if its fingerprint is news."""
        schema = None if self._mark.fingerprint in known else self._schema
        return Done(
            checks=self.checks,
            mark=self._mark,
            schema=schema,
            bytes_before=self.measured.bytes,
            plans=self.measured.plans,
            drift=sync.left(self._made_desired(), self._schema) if self.work.sync else (),
        )

    @contextmanager
    def named(self, *, landed: Callable[[], int] = int) -> Iterator[None]:
        """Adds the last completed step to time-out and disk-full errors.

        `landed` gives the number of earlier steps that are committed.
        """
        try:
            yield
        except TimeoutError as error:
            raise self.timed_out(landed=landed() > 0) from error
        except DiskFullError as error:
            if not error.migration:
                last = len(self.results)
                where = f"committing steps 1 to {last}" if last else "before step 1"
                error.step, error.message = last, f"{where}: {error.message}"
                error.migration = self.migration
            raise

    def timed_out(self, *, landed: bool = False) -> StepFailedError:
        """The error after `timeout_seconds`; `landed` says that earlier steps are committed."""
        return self.failed(
            self.step,
            f"timed out after {self.work.timeout_seconds:g} s",
            hint=f"{left_behind(landed=landed).capitalize()}. Split the migration, or {MORE_TIME}.",
        )

    def refused(self, step: Step, what: str) -> StepFailedError:
        """The error for a statement that begins or ends a transaction where it may not."""
        return self.failed(
            step,
            f"step {step.number} {what}, and would part the migration from its marker",
            hint="Take BEGIN, COMMIT and ROLLBACK out of the file, or write "
            "`-- migrate:up transaction:false`.",
        )

    def failed(self, step: Step | None, message: str, *, hint: str) -> StepFailedError:
        """The migration's error at a step's line; before the first step without one."""
        return StepFailedError(
            message,
            step=step.number if step else 0,
            hint=hint,
            tenant=self.tenant,
            migration=self.migration,
            file=step.file if step else None,
            line=step.line if step else None,
        )


def recovered(results: tuple[StepResult, ...]) -> list[StepResult]:
    """Results kept by the marker, marked as found after a crash."""
    return [msgspec.structs.replace(result, recovered=True) for result in results]
