"""`ledger` commands as processes that can be killed, stopped, let go on, and disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import programs
from tests.programs import LEDGER, Program


def start(
    cwd: Path,
    *arguments: str,
    failpoint: str = "",
    environment: Mapping[str, str] | None = None,
    **how: Any,
) -> Program:
    """Start `ledger ARGUMENTS` in `cwd`. See `disturbed.prepare` for what else can be done to it."""
    return programs.start(
        LEDGER,
        *arguments,
        cwd=cwd,
        environment={"LEDGER_FAILPOINT": failpoint, **(environment or {})},
        prepare="tests.faults.disturbed" if how else "",
        how=how,
    )
