"""What the figures were measured on: versions, cores, and what a sync costs here."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from importlib import metadata

import msgspec

from bench.options import Options
from bench.server import Server

SYNCS = 100
_PACKAGES = ("migration-ledger", "aiosqlite", "aiomysql", "PyMySQL", "msgspec", "anyio", "uvloop")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`sync_ms` is the median of 4 KiB writes made durable by fdatasync in the bench's folder."""

    system: str
    cores: int
    python: str
    sqlite: str
    server: str
    sync_ms: float
    sync_delay_ms: float
    packages: dict[str, str]

    def line(self) -> str:
        """One line for the head of a table."""
        delay = f" (+{self.sync_delay_ms:g} ms injected)" if self.sync_delay_ms else ""
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        return (
            f"{self.system}, {self.cores} cores, one sync {self.sync_ms:.2f} ms{delay}; Python"
            f" {self.python}, SQLite {self.sqlite}, {self.server}; {packages}"
        )


def look(options: Options) -> Machine:
    """Look at this machine now."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "not installed"
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=cores(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        server=Server.parse(options.server).version() or "no MariaDB",
        sync_ms=sync_cost_ms(options),
        sync_delay_ms=options.sync_delay_ms,
        packages=packages,
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sync_cost_ms(options: Options) -> float:
    """Median milliseconds of one fdatasync after a 4 KiB write, in the folder the bench uses."""
    sync = getattr(os, "fdatasync", os.fsync)
    taken = []
    with tempfile.TemporaryFile(dir=options.dir) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            sync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000
