"""A slower disk on demand: `shim.c`, compiled on the fly and preloaded into the measured processes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class NoCompilerError(Exception):
    """The delay was asked for and there is no C compiler; the message says what to install."""


def build(folder: Path) -> Path:
    """Compile the shim into `folder`. Raises NoCompilerError."""
    library = folder / "sync-shim.so"
    if library.exists():
        return library
    compiler = next(
        (found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None
    )
    if compiler is None:
        raise NoCompilerError(
            "--sync-delay needs a C compiler (cc, gcc or clang): apt-get install gcc libc6-dev"
        )
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise NoCompilerError(f"the sync shim could not be compiled: {done.stderr[-500:]}")
    return library


def environment(folder: Path, *, delay_ms: float = 0.0, log: Path | None = None) -> dict[str, str]:
    """What a measured process's environment needs; empty when nothing is asked for."""
    if not delay_ms and log is None:
        return {}
    made = {
        "LD_PRELOAD": str(build(folder)),
        "LEDGER_BENCH_SYNC_DELAY_US": str(int(delay_ms * 1000)),
    }
    if log is not None:
        made["LEDGER_BENCH_SYNC_LOG"] = str(log)
    return made


def read_log(log: Path) -> tuple[int, float]:
    """Syncs and seconds spent in them, over all processes that wrote to the log."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return sum(int(calls) for _, calls, _ in lines), sum(int(ns) for _, _, ns in lines) / 1e9
