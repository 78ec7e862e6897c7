"""What all sessions of one engine share, so that a fleet of equal tenants is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final

import anyio

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.dialect import MYSQL
from ledger.engines.mysql.backup.clients import DumpProgram
from ledger.engines.mysql.schema.model import Desired, State
from ledger.schema import Schema
from ledger.scripts.model import Step

SCHEMAS_MAX: Final = 256
TURN_SECONDS: Final = 10.0
"""How long one tenant's reading is waited for by those that may need no reading of their own then."""

PROGRAMS_SECONDS: Final = 1.0
"""How long it stands which databases of a server hold routines or events."""


@lru_cache(maxsize=4096)
def kind_of(sql: str) -> StatementKind:
    """The statement's kind; a fleet asks the same of each tenant."""
    return MYSQL.classify(sql)


class Shared:
    """`connect_seconds` are the engine's.

    Schemas are kept by the texts they came from, states by the work that led to them.
    """

    def __init__(self, *, connect_seconds: float) -> None:
        self.connect_seconds = connect_seconds
        self._seen_after: set[tuple[str, str]] = set()
        self.dump_programs: dict[tuple[str, str], DumpProgram] = {}
        self._turns: dict[str, anyio.Event] = {}
        self._programs: dict[str, tuple[float, frozenset[str]]] = {}
        self._schemas: OrderedDict[str, tuple[str, Schema]] = OrderedDict()
        self._led_to: OrderedDict[str, State] = OrderedDict()
        self._desired: OrderedDict[str, Desired] = OrderedDict()

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

    def led_to(self, lineage: str) -> State | None:
        """What the same work made of the same beginning on another tenant."""
        return self._led_to.get(lineage)

    def keep_state(self, lineage: str, state: State) -> None:
        """Remember, and forget the oldest."""
        self._led_to[lineage] = state
        if len(self._led_to) > SCHEMAS_MAX:
            self._led_to.popitem(last=False)

    def schema_of(self, texts: str) -> tuple[str, Schema] | None:
        """The fingerprint and schema that these texts stood for before."""
        found = self._schemas.get(texts)
        if found is not None:
            self._schemas.move_to_end(texts)
        return found

    def keep(self, texts: str, fingerprint: str, schema: Schema) -> None:
        """Remember, and forget the one unused for longest."""
        self._schemas[texts] = (fingerprint, schema)
        if len(self._schemas) > SCHEMAS_MAX:
            self._schemas.popitem(last=False)

    def desired(self, key: str) -> Desired | None:
        """What the same statements made of an empty database before."""
        return self._desired.get(key)

    def keep_desired(self, key: str, desired: Desired) -> None:
        """Remember, and forget the oldest."""
        self._desired[key] = desired
        if len(self._desired) > SCHEMAS_MAX:
            self._desired.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._seen_after.clear()
        self._schemas.clear()
        self._led_to.clear()
        self._desired.clear()
