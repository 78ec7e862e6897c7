"""Processes that are measured: whole commands, and children that wait for the word (`bench.child`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.02


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` of wall clock, `cpu_seconds` of all cores (0 where it is not known).

    `peak_mib` is the memory of all its processes together, where it was watched.
    """

    seconds: float
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    output: str = ""


class CommandFailedError(Exception):
    """A measured process ended badly; the message holds the end of what it said."""


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, the repository importable, `extra` on top.

    Modules are compiled once, as where they are installed, and not in every process.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    inherited = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**inherited, "PYTHONPATH": path, **extra}


def run_command(
    command: Sequence[str],
    *,
    cwd: Path,
    extra: Mapping[str, str] | None = None,
    watch_memory: bool = False,
) -> Reading:
    """Run to the end; wall clock from start to exit. Raises CommandFailedError."""
    began = time.perf_counter()
    # Files, and no pipes that a reader thread of ours would have to serve meanwhile.
    with (cwd / "stdout.log").open("w+") as out, (cwd / "stderr.log").open("w+") as err:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(extra or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        watcher = MemoryWatcher(process.pid) if watch_memory else None
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        # Popen is told, or it would wait for a process that is gone.
        code = process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output, errors = out.read(), err.read()
    if code != 0:
        said = (errors or output)[-1500:]
        raise CommandFailedError(f"{' '.join(command)} ended with {code}:\n{said}")
    peak = watcher.stop() if watcher else 0.0
    cpu = usage.ru_utime + usage.ru_stime
    return Reading(seconds=seconds, cpu_seconds=cpu, peak_mib=peak, output=output)


class MemoryWatcher:
    """Follows the memory of a process and its descendants, by /proc, until stopped.

    The first process's high-water mark, or, where that is more, what all of them
    held at one moment, pages that several share counted once (Pss). getrusage would
    count the memory of the bench itself, which a child shares between fork and exec.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._alone_kib = 0
        self._together_kib = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """MiB."""
        self._ended.set()
        self._thread.join()
        return max(self._alone_kib, self._together_kib) / 1024

    def _follow(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            family = _family(self._pid)
            self._alone_kib = max(self._alone_kib, _kib(self._pid, "status", "VmHWM:"))
            if len(family) > 1:
                held = sum(_kib(pid, "smaps_rollup", "Pss:") for pid in family)
                self._together_kib = max(self._together_kib, held)


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _kib(pid: int, file: str, field: str) -> int:
    """One field of a file in /proc/PID; 0 for a process that has gone."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) for words in lines if words[0] == field), 0)


def run_children(
    module: str,
    orders: Mapping[str, Any],
    *,
    at_once: int = 1,
    python: str = sys.executable,
    extra: Mapping[str, str] | None = None,
) -> Reading:
    """Start `module` `at_once` times, each with its share of `orders["targets"]`; they begin together.

    The reading is that of the slowest. Raises CommandFailedError.
    """
    targets: list[str] = orders["targets"]
    children = []
    for number in range(at_once):
        child = subprocess.Popen(
            [python, "-m", module],
            env=environment(extra or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _say(child, json.dumps({**orders, "targets": targets[number::at_once]}))
        children.append(child)
    for child in children:
        _expect_ready(child, module)
    for child in children:
        _say(child, "go")
    results = []
    for child in children:
        output, errors = child.communicate()
        if child.returncode != 0:
            raise CommandFailedError(f"{module} ended with {child.returncode}:\n{errors[-1500:]}")
        results.append(json.loads(output.splitlines()[-1]))
    return Reading(
        seconds=max(result["seconds"] for result in results),
        cpu_seconds=sum(result["cpu"] for result in results),
    )


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


def _expect_ready(child: subprocess.Popen[str], module: str) -> None:
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    if said != "ready":
        _, errors = child.communicate()
        raise CommandFailedError(f"{module} did not get ready: {said}\n{errors[-1500:]}")
