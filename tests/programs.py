"""Python programs in processes of their own, to be waited for, signalled and read; `ledger` above all.

They are forked by a warm process (zygote.py): a fresh interpreter would import for a third of a
second what the tests need thousands of times. Some tests start one all the same, for what it is
to start: the command's own, installed one, streams that are closed, signals before the first import.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from ledger.cli import invoke
from tests.servers import ROOT
from tests.zygote import Request

PROGRAM_SECONDS: Final = 60.0
"""How long a program may take before the test gives up on it."""

LEDGER: Final = "ledger.cli"

_POLL_SECONDS: Final = 0.004


class Ended(NamedTuple):
    """How a program ended; `code` is negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL

    def json(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Its output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Program:
    """A program that was started. It writes into memory, unless it was given other streams."""

    def __init__(
        self, request: Request, stdin: int | None = None, output: int | None = None
    ) -> None:
        self._written = [os.memfd_create(name) for name in ("out", "err") if output is None]
        self._report, report = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        out, err = self._written if output is None else (output, output)
        try:
            _zygote().send(request, nothing if stdin is None else stdin, out, err, report)
        finally:
            os.close(nothing)
            os.close(report)
        self._said = b""
        self.pid = self._reported(0, PROGRAM_SECONDS)

    def __del__(self) -> None:
        for descriptor in (*self._written, self._report):
            os.close(descriptor)

    def _reported(self, number: int, seconds: float | None) -> int:
        """A line of the zygote's report. Raises TimeoutError."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._said.count(b"\n") <= number:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._report], [], [], left)[0]:
                raise TimeoutError
            more = os.read(self._report, 64)
            assert more, "the process that forks programs is gone; see what it wrote to stderr"
            self._said += more
        return int(self._said.splitlines()[number])

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        try:
            self._reported(1, 0.0)
        except TimeoutError:
            return False
        return True

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return _text(self._written[0]) if self._written else ""

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return _text(self._written[1]) if self._written else ""

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return text.rpartition(")")[2].split()[:1] == ["T"]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended does not mind."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def end(self) -> None:
        """Kill it if it has not ended, stopped or not, and see it gone."""
        if not self.over:
            self.send(signal.SIGKILL)
            self._reported(1, PROGRAM_SECONDS)

    def wait(self, seconds: float = PROGRAM_SECONDS) -> Ended:
        """Its end. Kills it, and fails, if that does not come in time."""
        try:
            code = self._reported(1, seconds)
        except TimeoutError:
            self.send(signal.SIGKILL)
            raise AssertionError(
                f"it did not end in {seconds} s:\n{self.out}\n{self.err}"
            ) from None
        return Ended(code, self.out, self.err)


def start(
    module: str,
    *arguments: str,
    cwd: Path | None = None,
    environment: Mapping[str, str | None] | None = None,
    stdin: int | None = None,
    output: int | None = None,
    prepare: str = "",
    how: Mapping[str, Any] | None = None,
) -> Program:
    """Start `python -m MODULE ARGUMENTS`, with `environment` beside this process' own, None for none.

    `output` takes stdout and stderr; see `zygote.Request` for the rest.
    """
    merged: dict[str, str | None] = {**os.environ, **(environment or {})}
    request = Request(
        module=module,
        arguments=list(arguments),
        cwd=str(cwd or Path.cwd()),
        environment={name: value for name, value in merged.items() if value is not None},
        prepare=prepare,
        how=dict(how or {}),
    )
    return Program(request, stdin, output)


def run(module: str, *arguments: str, seconds: float = PROGRAM_SECONDS, **more: Any) -> Ended:
    """Start a program (see `start`) and wait for its end."""
    return start(module, *arguments, **more).wait(seconds)


def here(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> Ended:
    """The command `ledger` in this process: what it costs to look. Not while an event loop runs."""
    written = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(one, "utf-8", write_through=True) for one in written)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        for name, value in environment.items():
            patch.setenv(name, value)
        code = invoke(arguments)
    return Ended(code, *(one.getvalue().decode(errors="backslashreplace") for one in written))


def wait_for(condition: Callable[[], object], what: str, seconds: float = PROGRAM_SECONDS) -> None:
    """Until the condition holds. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        # Asking must not take the time of what is waited for.
        time.sleep(max(_POLL_SECONDS, 3 * (now - asked)))


class _Zygote:
    """The process that forks the programs; one for each test process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote"], cwd=ROOT, stdin=theirs.fileno()
            )
        atexit.register(self.close)

    def send(self, request: Request, *descriptors: int) -> None:
        socket.send_fds(self._socket, [msgspec.json.encode(request)], descriptors)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_zygotes: dict[int, _Zygote] = {}


def _zygote() -> _Zygote:
    if os.getpid() not in _zygotes:
        _zygotes[os.getpid()] = _Zygote()
    return _zygotes[os.getpid()]


def _text(descriptor: int) -> str:
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    return content.decode(errors="backslashreplace")
