"""What is done to a forked command before it begins: points at which it stops, clocks, names, limits."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import socket
import threading
from datetime import datetime, timedelta, tzinfo
from types import ModuleType, SimpleNamespace

from tests.faults.broken import without


def prepare(
    *,
    trace: str = "",
    stops: bool = False,
    suspended_seconds: float = 0.0,
    clock_seconds: float = 0.0,
    host: str = "",
    broken: str = "",
    file_size_limit: int | None = None,
) -> None:
    """Disturb this process.

    The failpoints that it comes by are written to the file `trace`. With `stops` the failpoint
    stops the process (SIGSTOP) instead of killing it; with `suspended_seconds` the clock that
    counts suspends jumps there instead. `clock_seconds` shifts the ledger's clock; `host` is who
    the process says it is. `broken` is the guard of broken.py that it runs without.
    """
    failpoints = importlib.import_module("ledger.failpoints")
    if trace:
        points = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        failpoints.__dict__["reach"] = lambda name: os.write(points, f"{name}\n".encode())
    if stops:
        failpoints.__dict__["signal"] = SimpleNamespace(SIGKILL=signal.SIGSTOP)
        # To the thread: one sent to the process may stop another first, and this one goes on a bit.
        failpoints.__dict__["os"] = SimpleNamespace(
            getpid=threading.get_ident, kill=signal.pthread_kill
        )
    if suspended_seconds:
        _suspend_at(failpoints, os.environ["LEDGER_FAILPOINT"], suspended_seconds)
    if clock_seconds:
        _shift_clock(clock_seconds)
    if host:
        socket.gethostname = lambda: host
    if broken:
        without(broken)
    if file_size_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))


def _suspend_at(failpoints: ModuleType, point: str, seconds: float) -> None:
    """What the process sees of a suspend of the machine: the clock that counts it has jumped."""
    holder = importlib.import_module("ledger.runner.holder")
    context = importlib.import_module("ledger.runner.context")
    before, jumped = holder.boottime_seconds, [0.0]

    def reach(name: str) -> None:
        if name == point:
            jumped[0] = seconds

    failpoints.__dict__["reach"] = reach
    for module in (holder, context):
        module.__dict__["boottime_seconds"] = lambda: before() + jumped[0]


def _shift_clock(seconds: float) -> None:
    """The host's clock as the SQLite ledger reads it, `seconds` ahead (or behind)."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Shifted:
            return super().now(tz) + timedelta(seconds=seconds)

    importlib.import_module("ledger.stores.sqlite").__dict__["datetime"] = Shifted
