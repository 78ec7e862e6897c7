"""What all sessions of one engine share, so that a fleet of equal tenants is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final, Generic, TypeVar

import anyio

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.steps import Step
from ledger.engines.mysql.backup.clients import DumpProgram
from ledger.engines.mysql.schema.model import Desired, State
from ledger.schema import Schema

T = TypeVar("T")

SCHEMAS_MAX: Final = 256
TURN_SECONDS: Final = 10.0
"""How long one tenant's reading is waited for by those that may need no reading of their own then."""

PROGRAMS_SECONDS: Final = 1.0
"""How long it stands which databases of a server hold routines or events."""


@lru_cache(maxsize=4096)
def kind_of(sql: str) -> StatementKind:
    """The statement's kind; a fleet asks the same of each tenant."""
    return MYSQL.classify(sql)


class Recent(Generic[T]):
    """Values by their key; beyond SCHEMAS_MAX the one unused for longest is forgotten."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, T] = OrderedDict()

    def find(self, key: str) -> T | None:
        """The value; None for one that is not known, or was forgotten."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: str, value: T) -> None:
        """Remember a value."""
        self._values[key] = value
        if len(self._values) > SCHEMAS_MAX:
            self._values.popitem(last=False)


class Shared:
    """`connect_seconds` are the engine's.

    `schemas` are fingerprint and schema by the hash of the texts they came from, `states` what work has led
    to by its lineage, `desired` what a sync section makes of an empty database.
    """

    def __init__(self, *, connect_seconds: float) -> None:
        self.connect_seconds = connect_seconds
        self.dump_programs: dict[tuple[str, str], DumpProgram] = {}
        self.schemas: Recent[tuple[str, Schema]] = Recent()
        self.states: Recent[State] = Recent()
        self.desired: Recent[Desired] = Recent()
        self._seen_after: set[tuple[str, str]] = set()
        self._turns: dict[str, anyio.Event] = {}
        self._programs: dict[str, tuple[float, frozenset[str]]] = {}

    def wants_after(self, step: Step, before: str) -> bool:
        """Whether nobody has read yet, or is reading, what this step makes of that."""
        if (step.sha256, before) in self._seen_after:
            return False
        self._seen_after.add((step.sha256, before))
        return True

    def saw_no_after(self, step: Step, before: str) -> None:
        """Reading it failed: the next tenant reads it."""
        self._seen_after.discard((step.sha256, before))

    @asynccontextmanager
    async def turn(self, what: str) -> AsyncIterator[None]:
        """Wait, at most TURN_SECONDS, until no other tenant is in the block for `what`."""
        with anyio.move_on_after(TURN_SECONDS):
            while what in self._turns:
                await self._turns[what].wait()
        event = self._turns[what] = anyio.Event()
        try:
            yield
        finally:
            if self._turns.get(what) is event:
                del self._turns[what]
            event.set()

    async def programs(
        self, server: str, ask: Callable[[], Awaitable[frozenset[str]]]
    ) -> frozenset[str]:
        """Databases of the server that hold routines or events, asked for at most once a second."""
        async with self.turn(f"programs {server}"):
            known = self._programs.get(server)
            now = anyio.current_time()
            if known is None or now - known[0] > PROGRAMS_SECONDS:
                known = self._programs[server] = (now, await ask())
            return known[1]
