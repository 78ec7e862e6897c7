"""The messages between a run and what works on its batches, and their frames on a pipe.

A frame is a length of four bytes and a pickle: both ends are this program, and
the pipe is theirs alone. Invariant: nothing that came from a tenant or from a
file is ever unpickled, only what the other end built from it.

Imports no event loop and no driver: a worker has to be there before the run needs it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from ledger import events as ev
from ledger.dialects.steps import Check, Section
from ledger.drivers.url import Url
from ledger.engines.base import Target

LENGTH: Final = struct.Struct("!I")


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs before its first order. `lanes` is how many tenants it may work on at once.

    A tenant that is not at its end after `tenant_seconds` goes back to the run.
    """

    command: ev.Command
    ledger_id: str
    lanes: int
    tenant_seconds: float


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One migration as orders refer to it: see ledger.engines.work.Work for what the fields mean.

    `applied` are the migrations that `expected` names. `target` is what its tenants have in
    common: all but name and URL.
    """

    number: int
    ref: ev.MigrationRef
    section: Section
    checks: tuple[Check, ...]
    expected: frozenset[str]
    applied: tuple[ev.MigrationRef, ...]
    timeout_seconds: float
    target: Target


class Order(NamedTuple):
    """Run a task's migration on one tenant, or with `backup` (a path) only back it up before.

    `more` says that another order for the tenant comes next: its connection is kept.
    `lease_until` is on the clock that both processes share (boot time).
    """

    number: int
    task: int
    tenant: str
    url: Url
    epoch: int
    backup: str
    more: bool
    lease_until: float


class Result(NamedTuple):
    """What became of an order: its events, encoded (type and body), or the `problem`.

    With a problem nothing was changed by this order. `schema` is the tenant's, encoded, where
    this worker has not sent that `fingerprint` before. `backup` is the path of the backup that was
    made. `took_us` is how long the tenant was worked on, not how long it waited.
    """

    number: int
    problem: str
    events: tuple[tuple[str, bytes], ...] = ()
    fingerprint: str = ""
    schema: str = ""
    steps: int = 0
    skipped: int = 0
    backup: str = ""
    took_us: int = 0


def frame(message: object) -> bytes:
    """One message as bytes."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


class Frames:
    """Messages out of bytes as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are whole by now."""
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            yield pickle.loads(body)  # noqa: S301 - our own process
