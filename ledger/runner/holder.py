"""Who this process is, and whether another one still lives.

A process is named by host, PID namespace, boot, PID and start time, so that a
PID that was given out again is never mistaken for the holder of a claim.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ledger.errors import UsageError
from ledger.events import Holder

Life = Literal["alive", "gone", "unknown"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_active_runs: set[str] = set()


@lru_cache(maxsize=1)
def _holder_of(pid: int) -> Holder:
    return Holder(
        host=socket.gethostname(),
        boot=_boot(),
        pid=pid,
        started=_start_ticks(pid) or 0,
        nonce=secrets.token_hex(8),
    )


def this_holder() -> Holder:
    """This process; a forked child is another holder than its parent."""
    return _holder_of(os.getpid())


def _boot() -> str:
    """The boot id and the PID namespace: a PID means something only within both."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""
    return f"{boot} {namespace}"


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; the name in field 2 may hold spaces and brackets."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def life_of(holder: Holder, run: str) -> Life:
    """Whether a claim's holder lives. "unknown" where only its lease says it (another host or boot)."""
    me = this_holder()
    if holder.nonce == me.nonce:
        return "alive" if run in _active_runs else "gone"
    if not holder.boot or (holder.host, holder.boot) != (me.host, me.boot):
        return "unknown"
    ticks = _start_ticks(holder.pid)
    return "alive" if ticks is not None and ticks == holder.started else "gone"


def run_began(run: str) -> None:
    """This process executes `run` from now on."""
    _active_runs.add(run)


def run_ended(run: str) -> None:
    """This process is done with `run`: claims it left behind are free."""
    _active_runs.discard(run)


def new_run_id() -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits in Crockford's base 32, so that ids sort by time."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def actor_name() -> str:
    """`user@host` of this process, or what LEDGER_ACTOR says. Raises UsageError if that is no UTF-8."""
    given = os.environ.get("LEDGER_ACTOR")
    if given:
        try:
            given.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"LEDGER_ACTOR is not UTF-8 text: {given!r}", hint="Set it in UTF-8."
            ) from None
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def boottime_seconds() -> float:
    """A clock that never jumps and counts the time the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if _HAS_BOOTTIME else time.monotonic()


_HAS_BOOTTIME = hasattr(time, "CLOCK_BOOTTIME")
