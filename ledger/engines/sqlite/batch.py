"""SQLite tenants of a batch: see ledger.engines.batch.

Commits are synced with `synchronous = FULL`, and one sync of a folder makes durable all that were made in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ledger.drivers.url import file_uri
from ledger.engines.base import Backup, Target
from ledger.engines.batch import Stop
from ledger.engines.sqlite.apply.transaction import Attempt
from ledger.engines.sqlite.backup.backup import write
from ledger.engines.sqlite.connection import FULL
from ledger.engines.sqlite.folders import sync_commits
from ledger.engines.sqlite.inside import Inside
from ledger.engines.sqlite.marker import admit, read_marker
from ledger.engines.sqlite.peek import Descriptors
from ledger.engines.sqlite.schema.introspect import SchemaCache
from ledger.engines.sqlite.steps import go_on, marks_connection, snapshot
from ledger.engines.sqlite.tenant_file import path_of, require_file
from ledger.engines.work import Done, MarkerEntry, StepResult, Work

BUSY_TIMEOUT_MS: Final = 50
OPERATIONS: Final = 20_000
"""Operations of SQLite's virtual machine between two checks of the clock."""


class SqliteBatch:
    """See Batch. Its tenants share the schemas and the files' headers that were read."""

    def __init__(self) -> None:
        self._cache = SchemaCache()
        self._descriptors = Descriptors()

    def open(self, target: Target) -> SqliteBatchTenant:
        path = path_of(target)
        require_file(target, path)
        database = sqlite3.connect(
            file_uri(path, mode="rw"),
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=64,
            check_same_thread=False,
        )
        inside = Inside(
            target, path, cache=self._cache, descriptors=self._descriptors, synchronous=FULL
        )
        try:
            inside.prepare(database)
        except BaseException:
            database.close()
            raise
        return SqliteBatchTenant(database, inside)

    @staticmethod
    def spoils_connection(work: Sequence[str]) -> bool:
        """See Batch.spoils_connection."""
        return any(map(marks_connection, work))

    @staticmethod
    def make_durable(targets: Iterable[Target]) -> None:
        """See Batch.make_durable."""
        sync_commits(map(path_of, targets))


class SqliteBatchTenant:
    """See BatchTenant."""

    def __init__(self, database: sqlite3.Connection, inside: Inside) -> None:
        self._database = database
        self._inside = inside

    def apply(
        self, work: Work, stop: Stop, *, known: frozenset[str]
    ) -> tuple[Sequence[StepResult], Done]:
        self._database.set_progress_handler(stop.is_set, OPERATIONS)
        attempt = Attempt(self._inside, work)
        go_on(stop)
        attempt.go(self._database)
        return attempt.results, attempt.sum_up(known)

    def backup(
        self, destination: Path, stop: Stop, *, epoch: int, ledger: str, expected: frozenset[str]
    ) -> Backup:
        database, tenant = self._database, self._inside.tenant
        database.set_progress_handler(stop.is_set, OPERATIONS)
        with snapshot(database):
            marker = read_marker(database, tenant=tenant)
        admit(marker, epoch=epoch, ledger=ledger, tenant=tenant)
        if not _is_at(marker.entries, expected):
            raise ValueError("the tenant's marker and the ledger disagree")
        return write(self._inside, database, destination, stop)

    def close(self) -> None:
        self._database.close()


def _is_at(entries: Sequence[MarkerEntry], expected: frozenset[str]) -> bool:
    """Whether exactly the expected migrations are applied, and none in part."""
    return all(entry.state == "applied" for entry in entries) and expected == {
        entry.ref.id for entry in entries
    }
