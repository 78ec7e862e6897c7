"""Events of a run, on its own stream."""

from __future__ import annotations

import msgspec

from ledger.events.base import Command, Event, Holder


class FleetSeen(Event, frozen=True, kw_only=True, tag="fleet_seen"):
    """The tenants that the sources name, or what those follow, are not what they were when last seen.

    `fleet` is the SHA-256 of the kept text that lists all `tenants` with their migrations,
    `previous` that of the one before it; `came` and `gone` are the names of tenants that only one
    of them lists. `scope` distinguishes configurations that share a ledger.

    `follows` are the SHA-256 of what they follow, each once. With `partial` only the tenants in `came`
    were asked for, by name, and it is a kept text; of all others `fleet` is still what was last seen.
    """

    scope: str
    fleet: str
    tenants: int
    previous: str = ""
    came: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    partial: bool = False


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    """One invocation began to act. `tenants` is how many it chose.

    `plan` is the SHA-256 of the kept text that lists them in order, with the migrations to apply or
    undo on each.
    """

    command: Command
    tenants: int
    holder: Holder
    lease_seconds: float
    target: str | None = None
    options: dict[str, str] = msgspec.field(default_factory=dict)
    reason: str = ""
    plan: str = ""


class RunFinished(Event, frozen=True, kw_only=True, tag="run_finished"):
    """The invocation ended. `outcomes` counts tenants by outcome; `interrupted` says a signal ended it."""

    outcomes: dict[str, int]
    duration_us: int
    interrupted: bool = False


class LeaseRenewed(Event, frozen=True, kw_only=True, tag="lease_renewed"):
    """One per runner, on the run's stream: all its claims live `lease_seconds` longer, from this `at`."""

    lease_seconds: float
