"""Running `ledger` commands as processes that can be killed, stopped and let go on."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.zygote import Request, requests_as_lines
from tests.servers import ROOT

COMMAND_SECONDS = 60.0
"""How long a command may take before the test gives up on it."""

_POLL_SECONDS = 0.004
_numbers = itertools.count()


class Ended(NamedTuple):
    """How a command ended; `code` is negative for a signal."""

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


class Running:
    """A command that was started. Its folder holds what it writes."""

    def __init__(self, folder: Path, forks: Callable[[], bool]) -> None:
        self._folder = folder
        wait_for(lambda: (folder / "pid").exists() or not forks(), "the command to start")
        assert forks(), "the process that forks commands is gone; see what it wrote to stderr"
        self.pid = int((folder / "pid").read_text())

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return (self._folder / "code").exists()

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return _text(self._folder / "out")

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return _text(self._folder / "err")

    @property
    def points(self) -> set[str]:
        """The failpoints it came by, if it was started with `trace`."""
        return set(_text(self._folder / "points").split())

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        text = _text(Path(f"/proc/{self.pid}/stat"))
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
            wait_for(lambda: self.over, "a killed command to be gone")

    def wait(self, seconds: float = COMMAND_SECONDS) -> Ended:
        """Its end. Kills it, and fails, if that does not come in time."""
        try:
            wait_for(lambda: self.over, "the command to end", seconds)
        except AssertionError:
            self.send(signal.SIGKILL)
            raise AssertionError(
                f"it did not end in {seconds} s:\n{self.out}\n{self.err}"
            ) from None
        return Ended(int((self._folder / "code").read_text()), self.out, self.err)


def wait_for(condition: Callable[[], object], what: str, seconds: float = COMMAND_SECONDS) -> None:
    """Until the condition holds. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(_POLL_SECONDS)


class _Zygote:
    """The process that forks the commands; one for each test process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"], cwd=ROOT, stdin=subprocess.PIPE
        )
        atexit.register(self.close)

    def send(self, request: Request) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(requests_as_lines([request]))
        self._process.stdin.flush()

    def lives(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()


_zygotes: dict[int, _Zygote] = {}


def start(cwd: Path, *arguments: str, **how: Any) -> Running:
    """Start `ledger ARGUMENTS` in `cwd`. See zygote.Request for what can be said about it."""
    if os.getpid() not in _zygotes:
        _zygotes[os.getpid()] = _Zygote()
    folder = cwd / ".commands" / f"{next(_numbers):06}"
    folder.mkdir(parents=True)
    request = Request(folder=str(folder), cwd=str(cwd), arguments=list(arguments), **how)
    _zygotes[os.getpid()].send(request)
    return Running(folder, _zygotes[os.getpid()].lives)


def _text(path: Path) -> str:
    return path.read_text(errors="backslashreplace") if path.exists() else ""
