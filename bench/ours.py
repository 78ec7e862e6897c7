"""Our side: the command as people type it, in a fresh process, with its configuration."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.children import Reading, run_command
from bench.fleet import Fleet
from bench.workloads import write_folder

PYTHON = (sys.executable, "-m", "ledger")
CONNECTIONS = 8
"""Connections per server, for ours and for the raw side."""


class Product:
    """A configuration in `folder` over one fleet, its ledger a SQLite file beside it."""

    def __init__(self, folder: Path, tenants: str) -> None:
        self.folder = folder
        self.migrations = folder / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        self.write(tenants)

    def write(self, tenants: str) -> None:
        """The configuration; `tenants` is its `[[tenants]]` table."""
        (self.folder / "ledger.toml").write_text(
            'url = "sqlite:///ledger.db"\nmigrations = "migrations"\nbackups = "backups"\n\n'
            f"{tenants}"
        )

    @classmethod
    def over(cls, folder: Path, fleet: Fleet) -> Product:
        """With the fleet's workload as its one migration."""
        product = cls(folder, fleet.config())
        write_folder(product.migrations, fleet.workload)
        return product

    def forget(self) -> None:
        """As if no run had ever been: no ledger, no backups."""
        for left in self.folder.glob("ledger.db*"):
            left.unlink()
        shutil.rmtree(self.folder / "backups", ignore_errors=True)

    def command(
        self, *arguments: str, extra: Mapping[str, str] | None = None, watch_memory: bool = False
    ) -> Reading:
        """`ledger ARGUMENTS` to its end, start-up included. Raises CommandFailedError."""
        return run_command(
            [*PYTHON, *arguments], cwd=self.folder, extra=extra, watch_memory=watch_memory
        )

    def migrate(
        self,
        *arguments: str,
        backup: bool = False,
        extra: Mapping[str, str] | None = None,
        watch_memory: bool = False,
    ) -> Reading:
        """The whole command."""
        wanted = [] if backup else ["--no-backup"]
        return self.command(
            "-q", "migrate", "--all-tenants", *wanted, *arguments,
            extra=extra, watch_memory=watch_memory,
        )  # fmt: skip
