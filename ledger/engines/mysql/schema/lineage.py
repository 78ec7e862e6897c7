"""How a tenant's schema came about, so that equal tenants are read once.

A tenant that was seen empty, or was just read, and then got the same statements as
another one on the same server, has the same schema: only its names are compared.
Invariant: whatever is not a plain statement that ran here from its first step
breaks the line, and the schema is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from ledger.drivers.mysql import MysqlConnection
from ledger.engines.mysql.schema.introspect import SchemaReader
from ledger.engines.mysql.schema.model import State
from ledger.engines.mysql.schema.objects import Names
from ledger.engines.mysql.shared import Shared, kind_of
from ledger.engines.work import StepResult, Work

DATABASE_DEFAULTS = "SELECT @@character_set_database, @@collation_database, @@sql_mode"
_PLAIN = frozenset({"ddl", "dml", "query", "session", "transaction"})


class Lineage:
    """One session's line: a hash over its beginning and the work since; None where it is broken."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._now: str | None = None
        self._before: str | None = None

    def begin(self, origin: str) -> None:
        """The tenant is this now: the line begins here."""
        self._now = _hash(origin)

    def attempt(self) -> None:
        """Something is about to change the tenant; unless `grow` follows, the line is broken."""
        self._before, self._now = self._now, None

    def grow(self, work: Work, results: Sequence[StepResult], names: Names) -> None:
        """All of the work has run here, from its first step to its last."""
        if self._before is None:
            return
        steps = work.section.steps
        if all(kind_of(step.readable).kind in _PLAIN for step in steps):
            skipped = [result.number for result in results if result.skipped]
            texts = [names.neutral(step.sql) for step in steps]
            self._now = _hash(msgspec.json.encode([self._before, texts, skipped]).decode())

    async def read(self, reader: SchemaReader, connection: MysqlConnection, origin: str) -> State:
        """Read the tenant's state: a line begins with it. `origin` is what else its statements depend on."""
        defaults = (await connection.fetch(DATABASE_DEFAULTS))[0]
        state = await reader.state(connection)
        self.begin(repr((origin, connection.server.text, *defaults, state.texts)))
        return state

    async def state(self, reader: SchemaReader, connection: MysqlConnection, origin: str) -> State:
        """The tenant's state now: known from another tenant of this line, or read."""
        line = self._now
        if line is None:
            return await self.read(reader, connection, origin)
        if self._shared.states.find(line) is None:
            # The first tenants of a fleet come to this at once: one of them reads for all.
            async with self._shared.turn(line):
                if self._shared.states.find(line) is None:
                    return await self._read(line, reader, connection)
        expected = self._shared.states.find(line)
        found = None
        if expected is not None:
            found = await reader.expected_state(connection, expected)
        return found or await self._read(line, reader, connection)

    async def _read(self, line: str, reader: SchemaReader, connection: MysqlConnection) -> State:
        state = await reader.state(connection)
        self._shared.states.keep(line, state)
        return state


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
