"""Named points at which a test makes the process kill itself, to prove that nothing is lost there.

`LEDGER_FAILPOINT=name` or `name:3` (the third time it is reached) arms one
point: the process sends itself SIGKILL. Unarmed, a point costs one comparison.
The points are data, so that a test can walk all of them.
"""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final[tuple[str, ...]] = (
    "store.before_commit",
    "store.after_commit",
    "runner.after_claim",
    "runner.before_record",
    "runner.after_record",
    "engine.before_begin",
    "engine.in_transaction",
    "engine.before_marker",
    "engine.after_commit",
    "engine.after_intent",
    "engine.after_statement",
    "engine.after_marker",
    "backup.half_written",
    "backup.before_rename",
    "backup.after_rename",
    "restore.before_write",
    "restore.half_written",
    "restore.after_write",
)

_armed, _, _count = os.environ.get("LEDGER_FAILPOINT", "").partition(":")
_left = int(_count) if _count.isdigit() else 1


def reach(name: str) -> None:
    """Die here by SIGKILL if this point is armed and its count is reached."""
    global _left
    if name == _armed:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
