"""Which processes hold locks on a SQLite file, for a message that names them.

Invariant: the file is not opened; closing it would drop this process' own locks on it.
What the system does not report (no /proc, another host's process) is left out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LOCKS: Final = Path("/proc/locks")


def lock_holders(path: str | Path) -> str:
    """`process 4711 (ledger, stopped)`, several joined by "and"; empty if nobody is found.

    Those that keep others from writing; for want of any, those that read the main file.
    """
    main, shared = _inode(str(path)), _inode(f"{os.path.realpath(path)}-shm")
    writers: set[int] = set()
    readers: set[int] = set()
    try:
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) < 8 or fields[1] != "POSIX" or fields[5] not in (main, shared):
            continue
        if fields[3] == "WRITE":
            writers.add(int(fields[4]))
        elif fields[5] == main:
            readers.add(int(fields[4]))
    # Who waits at its COMMIT for readers is a writer itself.
    own = {os.getpid()}
    others = sorted(writers - own or readers - own)
    return " and ".join(_told(pid) for pid in others if pid > 0)


def _inode(path: str) -> str:
    """As /proc/locks writes it; empty for a file that is not there."""
    try:
        info = Path(path).stat()
    except OSError:
        return ""
    return f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"


def _told(pid: int) -> str:
    """The process with its name, and whether it is stopped (SIGSTOP, Ctrl-Z)."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name}{', stopped' if rest.split()[0] in 'tT' else ''})"
