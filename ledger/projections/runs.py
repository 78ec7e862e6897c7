"""The state of a run, and of the fleet as a configuration saw it."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.events import Holder

RunWord = Literal["", "running", "finished", "stopped", "abandoned"]


class RunState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run. `renewed_at` plus `lease_seconds` is the end of its lease.

    `state` follows from the rest, the clock and the processes, and so is never stored:
    `stopped` by a signal or its failure budget, `abandoned` if it has no end though nobody is at
    work any more (killed, or its host is gone); then `finished_at` is the time of its last event.
    """

    run: str
    command: str = ""
    actor: str = ""
    started_at: str = ""
    renewed_at: str = ""
    lease_seconds: float = 0.0
    finished_at: str = ""
    tenants: int = 0
    target: str | None = None
    outcomes: dict[str, int] = {}
    interrupted: bool = False
    reason: str = ""
    holder: Holder | None = None
    version: int = 0
    plan: str = ""
    state: RunWord = ""


class Seen(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The fleet as one configuration last saw it: the SHA-256 of the kept text that lists it.

    `follows` are the SHA-256 of the catalogues that its tenants follow.
    """

    scope: str
    fleet: str
    at: str
    seq: int
    follows: tuple[str, ...] = ()
