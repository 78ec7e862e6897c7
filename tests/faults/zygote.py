"""A warm process that forks a command line in an instant, for tests that kill thousands of them.

python -m tests.faults.zygote, one JSON request a line on stdin. Each command is the
real `ledger` command line in a real process of its own; only the imports are shared.
Its process id is written to `FOLDER/pid`, its output to `out` and `err`, and when it
has ended, its exit code (negative: the signal that ended it) to `code`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec

from tests.faults.broken import without


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One command.

    With `trace` the failpoints that it comes by are written to `FOLDER/points`. With
    `stops` the failpoint stops the process (SIGSTOP) instead of killing it; with
    `suspended_seconds` the clock that counts suspends jumps there instead.
    `clock_seconds` shifts the ledger's clock; `host` is who the process says it is.
    `broken` is the guard of broken.py that it runs without.
    """

    folder: str
    cwd: str
    arguments: list[str]
    failpoint: str = ""
    trace: bool = False
    stops: bool = False
    suspended_seconds: float = 0.0
    clock_seconds: float = 0.0
    host: str = ""
    broken: str = ""
    environment: dict[str, str] = {}
    file_size_limit: int | None = None


def main() -> None:
    """Serve requests until stdin closes."""
    _preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        if os.fork() == 0:
            _supervise(request)


def _preload() -> None:
    """Import all of the product, so that a fork has it."""
    ledger = importlib.import_module("ledger")
    for module in pkgutil.walk_packages(ledger.__path__, "ledger."):
        if module.name != "ledger.__main__":
            # A module that cannot be imported is the business of the command that needs it.
            with contextlib.suppress(ImportError, SyntaxError):
                importlib.import_module(module.name)


def _supervise(request: Request) -> None:
    """Fork the command, wait for its end, and write down how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder = Path(request.folder)
    pid = os.fork()
    if pid == 0:
        code = 70
        with contextlib.suppress(SystemExit):
            code = _command(request, folder)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _write(folder / "pid", str(pid))
    _, status = os.waitpid(pid, 0)
    _write(folder / "code", str(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, for a reader that polls."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.rename(path)


def _command(request: Request, folder: Path) -> int:
    """The command line, in this process: what `python -m ledger` runs."""
    os.setsid()
    os.chdir(request.cwd)
    os.environ.update(request.environment)
    os.environ.pop("LEDGER_FAILPOINT", None)
    if request.failpoint:
        os.environ["LEDGER_FAILPOINT"] = request.failpoint
    for number, name in ((0, "/dev/null"), (1, "out"), (2, "err")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(folder / name, flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    failpoints = importlib.import_module("ledger.failpoints")
    importlib.reload(failpoints)
    if request.trace:
        points = os.open(folder / "points", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        failpoints.__dict__["reach"] = lambda name: os.write(points, f"{name}\n".encode())
    if request.stops:
        failpoints.__dict__["signal"] = SimpleNamespace(SIGKILL=signal.SIGSTOP)
        # To the thread: one sent to the process may stop another first, and this one goes on a bit.
        failpoints.__dict__["os"] = SimpleNamespace(
            getpid=threading.get_ident, kill=signal.pthread_kill
        )
    if request.suspended_seconds:
        _suspend_at(failpoints, request.failpoint, request.suspended_seconds)
    if request.clock_seconds:
        _shift_clock(request.clock_seconds)
    if request.host:
        socket.gethostname = lambda: request.host
    if request.broken:
        without(request.broken)
    if request.file_size_limit is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = request.file_size_limit
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    invoke = importlib.import_module("ledger.cli").invoke
    code: int = invoke(request.arguments)
    return code


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


def requests_as_lines(requests: Sequence[Request]) -> bytes:
    """What to write to the zygote's stdin."""
    return b"".join(msgspec.json.encode(request) + b"\n" for request in requests)


if __name__ == "__main__":
    main()
