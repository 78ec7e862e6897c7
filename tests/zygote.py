"""A warm process that forks Python programs in an instant: the imports are shared, and nothing else.

`python -m tests.zygote` with a socket as its stdin. Each message is a `Request` and four descriptors: the
program's stdin, stdout and stderr, and a pipe on which its process id and, when it has ended, its
exit code (negative: the signal that ended it) are reported, a line each. What a program gets is what a
process of its own has: arguments, folder, environment, streams, signals, a session, and
its terminal if its stdin is one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import sys
import termios
import traceback
from typing import Any, Final

import msgspec

MESSAGE_BYTES: Final = 200_000
WARM: Final = (
    "anyio._backends._asyncio",
    "uvloop",
    "tests.engines.sqlite_child",
    "tests.stores.worker",
    "tests.engines.mysql_child",
)
"""Imported too: what is first needed by a command, and the tests' own programs."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A program: the `main` of a module, and what it is started with.

    `prepare` is a module whose `prepare(**how)` is called before it.
    """

    module: str
    arguments: list[str]
    cwd: str
    environment: dict[str, str]
    prepare: str = ""
    how: dict[str, Any] = {}


def main() -> None:
    """Fork the programs that are asked for, and report their ends, until the other side closes."""
    _preload()
    inbox = socket.socket(fileno=0)
    with selectors.DefaultSelector() as selector:
        selector.register(inbox, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _report_end(*key.data)
                elif not _serve(inbox, selector):
                    return


def _preload() -> None:
    """Import all of the product, so that a fork has it."""
    ledger = importlib.import_module("ledger")
    names = [module.name for module in pkgutil.walk_packages(ledger.__path__, "ledger.")]
    for name in (*names, *WARM):
        if name != "ledger.__main__":
            # A module that cannot be imported is the business of the command that needs it.
            with contextlib.suppress(ImportError, SyntaxError):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve(inbox: socket.socket, selector: selectors.BaseSelector) -> bool:
    """Fork the next program; False if there will be none."""
    content, descriptors, _, _ = socket.recv_fds(inbox, MESSAGE_BYTES, 4)
    if not content:
        return False
    *streams, report = descriptors
    pid = os.fork()
    if pid == 0:
        os._exit(_become(msgspec.json.decode(content, type=Request), streams))
    for stream in streams:
        os.close(stream)
    _report(report, pid)
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, report))
    return True


def _report_end(pid: int, report: int) -> None:
    _, status = os.waitpid(pid, 0)
    _report(report, os.waitstatus_to_exitcode(status))
    os.close(report)


def _report(report: int, number: int) -> None:
    # A test that was ended does not read it any more.
    with contextlib.suppress(BrokenPipeError):
        os.write(report, f"{number}\n".encode())


def _become(request: Request, streams: list[int]) -> int:
    """Be the program, to its end. Its exit code."""
    try:
        os.setsid()
        # As from a shell: what a background job ignores, such as this test run may be one, is not ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for ignored in (signal.SIGQUIT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_DFL)
        os.chdir(request.cwd)
        os.environ.clear()
        os.environ.update(request.environment)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(  # noqa: SIM115
            2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        sys.path[0] = request.cwd
        module = importlib.import_module(request.module)
        sys.argv = [str(module.__file__), *request.arguments]
        importlib.reload(importlib.import_module("ledger.failpoints"))
        if request.prepare:
            importlib.import_module(request.prepare).prepare(**request.how)
        code = _ended(module.main)
        sys.stdout.flush()
        sys.stderr.flush()
        return code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
            sys.stderr.flush()
        return 1


def _ended(main: Any) -> int:
    """The exit code of a `main`, as the interpreter makes it of what `sys.exit` was given."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()
