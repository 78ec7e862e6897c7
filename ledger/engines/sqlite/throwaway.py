"""A SQLite file for one test."""

from __future__ import annotations

import glob
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ledger.drivers.application import Application, equip
from ledger.engines.source import TenantSource


class ThrowawayFile:
    """See engines.throwaway.Throwaway."""

    def __init__(self, path: Path, application: Application | None) -> None:
        self.name = path.stem
        self._path = path
        self._application = application
        self.source = TenantSource(
            source="ledger.testing",
            engine="sqlite",
            kind="files",
            glob=glob.escape(str(path)),
            application=application,
        )

    def query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
            if self._application is not None:
                equip(database, self._application)
            return database.execute(sql, tuple(parameters)).fetchall()


@contextmanager
def throwaway(folder: Path, _: str, application: Application | None) -> Iterator[ThrowawayFile]:
    """See engines.throwaway.Make; the folder is the test's own, and goes with it."""
    path = folder / "tenant.db"
    path.touch()
    yield ThrowawayFile(path, application)
