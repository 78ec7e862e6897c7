"""Run one `ledger` command under cProfile, in all its threads, by CPU time: `bench.profile`'s child.

    python -m bench.profiled OUT.json ledger-arguments...

CPU time of the thread, and no wall clock: what a thread waits for (the disk, the
interpreter's lock) is nobody's own time. Writes one entry a function: file, line,
name, calls, own seconds.
"""

from __future__ import annotations

import cProfile
import json
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ONE_THREAD = sys.version_info >= (3, 12)
"""From 3.12 on the profiler's hook is the process's, and a second one is refused."""


def main() -> None:
    """Run the command and write what was seen."""
    out, arguments = Path(sys.argv[1]), sys.argv[2:]
    profiles = [cProfile.Profile(time.thread_time)]

    def begin(frame: FrameType, event: str, argument: Any) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    if not ONE_THREAD:
        threading.setprofile(begin)
    sys.argv = ["ledger", *arguments]
    from ledger.cli import main as command

    code: object = 0
    profiles[0].enable()
    try:
        command()
    except SystemExit as error:
        code = error.code
    profiles[0].disable()
    threading.setprofile(None)
    out.write_text(json.dumps([entry for one in profiles for entry in _entries(one)]))
    raise SystemExit(code)


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


if __name__ == "__main__":
    main()
