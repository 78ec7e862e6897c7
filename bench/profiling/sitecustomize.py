"""Makes every Python process of a measured command say what it used: `bench.profile` puts this on its path.

With BENCH_PROFILE=FOLDER each process writes FOLDER/ROLE-PID.json at its end: its CPU
seconds, and with BENCH_PROFILER=1 what cProfile saw in each of its threads, one entry a
function: file, line, name, calls, own seconds.

CPU time of the thread, and no wall clock: what a thread waits for (the disk, the
interpreter's lock) is nobody's own time.
"""

from __future__ import annotations

import atexit
import cProfile
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

ONE_HOOK = sys.version_info >= (3, 12)
"""From 3.12 on the profiler's hook is the process's, and a second one is refused."""

_exit = os._exit
_profiles: list[cProfile.Profile] = []


def role(arguments: list[str]) -> str:
    """`run` is the command, `worker` a process that it started."""
    return "worker" if any("ledger.fleet.bulk.worker" in one for one in arguments) else "run"


def begin() -> None:
    """Profile this thread and those to come, and write in the end, however the process ends."""
    if os.environ.get("BENCH_PROFILER"):
        if not ONE_HOOK:
            threading.setprofile(_thread_began)
        _profiles.append(cProfile.Profile(time.thread_time))
        _profiles[0].enable()
    atexit.register(_write)
    os._exit = _exit_and_tell


def _thread_began(frame: FrameType, event: str, argument: Any) -> None:
    profile = cProfile.Profile(time.thread_time)
    _profiles.append(profile)
    profile.enable()


def _exit_and_tell(status: int) -> NoReturn:
    _write()
    _exit(status)


def _write() -> None:
    cpu_seconds = time.process_time()
    if _profiles:
        _profiles[0].disable()
    entries = [entry for one in _profiles for entry in _entries(one)]
    name = f"{role(sys.orig_argv)}-{os.getpid()}.json"
    told = {"cpu_seconds": cpu_seconds, "functions": entries}
    (Path(os.environ["BENCH_PROFILE"]) / name).write_text(json.dumps(told))


def _entries(profile: cProfile.Profile) -> list[tuple[str, int, str, int, float]]:
    made = []
    for one in profile.getstats():
        code: CodeType | str = one.code
        if isinstance(code, str):
            made.append(("", 0, code, one.callcount, one.inlinetime))
        else:
            place = (code.co_filename, code.co_firstlineno, code.co_qualname)
            made.append((*place, one.callcount, one.inlinetime))
    return made


if os.environ.get("BENCH_PROFILE"):
    begin()
