"""An empty database for one test of migrations: what each kind brings for `ledger.testing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ledger.drivers.application import Application
from ledger.engines.source import TenantSource


class Throwaway(Protocol):
    """One tenant's database, made under a name of its own, and gone at the end of its block."""

    name: str
    source: TenantSource

    def query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run one statement, commit, and give its rows."""
        ...


Make = Callable[[Path, str, Application | None], AbstractContextManager[Throwaway]]
"""Makes one: a file in the folder, or a database on the server of the URL (empty for a file), with
what the application gives its connections. Raises ConfigError."""
