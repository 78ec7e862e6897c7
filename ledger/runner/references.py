"""What one run knows of reference schemas, read and made once for all tenants that stand alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio

from ledger.audit import BadText
from ledger.dialects.steps import sha256_hex
from ledger.drift import agreed
from ledger.engines.base import Target
from ledger.errors import ChainBrokenError, LedgerError
from ledger.events import MigrationRef
from ledger.projections import Applied, FleetState
from ledger.schema import Schema, decode_schema, fingerprint
from ledger.stores.store import Store

CHANGED_HINT: Final = (
    "The ledger was changed from outside: run `ledger verify`, which names every text that was, and"
    " put back a copy of the ledger from before."
)

_Group = tuple[object, ...]

Peers = Callable[[], Awaitable[tuple[Sequence[Target], FleetState]]]
"""All tenants of the configuration and their states; asked for once, where a tenant is compared with others."""


class References:
    """The schemas of one run. `peers` are all tenants of the configuration, with what the ledger knows of them."""

    def __init__(self, store: Store, fleet: FleetState, peers: Peers | None = None) -> None:
        self._store = store
        self._fleet = fleet
        self._peers = peers
        self._votes: dict[_Group, Counter[str]] | None = None
        self._schemas: dict[str, Schema] = {}
        self._replays: dict[_Group, Schema | None] = {}
        self._turn = anyio.Lock()
        self._asking = anyio.Lock()

    async def ask_peers(self) -> None:
        """Learn what the tenants of the configuration should be; `expected` and `agreed` go by it from then on."""
        async with self._asking:
            if self._votes is not None or self._peers is None:
                return
            peers, fleet = await self._peers()
            votes: dict[_Group, Counter[str]] = {}
            for peer in peers:
                state = fleet.tenant(peer.name)
                if state.expected:
                    group = self._group(state.applied, peer)
                    votes.setdefault(group, Counter())[state.expected] += 1
            self._votes = votes

    def expected(self, target: Target) -> str:
        """The fingerprint of what the tenant should be, or nothing while that is not known.

        What was counted as applied without running here is as most of the tenants with the
        same applied set have it.
        """
        state = self._fleet.tenant(target.name)
        if state.adopted and not state.reference:
            return self.agreed(target, state.applied) or state.expected
        return state.expected

    def agreed(self, target: Target, applied: Applied) -> str:
        """What most tenants with this applied set should be, as it was when the peers were asked; or nothing."""
        return agreed((self._votes or {}).get(self._group(applied, target), Counter()))

    def _group(self, applied: Applied, target: Target) -> _Group:
        return id(self._fleet.sets.intern(applied)), *_alike(target)

    async def schema(self, wanted: str) -> Schema | None:
        """The schema with this fingerprint, if it was seen in this run or the ledger keeps it.

        Raises ChainBrokenError if its text was changed.
        """
        found = self._schemas.get(wanted)
        if found is None and wanted:
            found = await kept_schema(self._store, wanted)
            if found is not None:
                self._schemas[wanted] = found
        return found

    def seen(self, schema: Schema) -> str:
        """Remember a schema that was read. Returns its fingerprint."""
        found = fingerprint(schema)
        self._schemas[found] = schema
        return found

    async def replay(
        self,
        target: Target,
        refs: Sequence[MigrationRef],
        make: Callable[[], Awaitable[Schema | None]],
    ) -> Schema | None:
        """What `make` makes of these migrations; asked once for all tenants for which they are the same.

        None where it raises a LedgerError.
        """
        group = (tuple((ref.set, ref.version, ref.checksum) for ref in refs), *_alike(target))
        async with self._turn:
            if group not in self._replays:
                try:
                    self._replays[group] = await make()
                except LedgerError:
                    self._replays[group] = None
            return self._replays[group]


async def kept_schema(store: Store, fingerprint: str) -> Schema | None:
    """The schema that the ledger keeps under this fingerprint. Raises ChainBrokenError if it was changed."""
    text = await store.script(fingerprint)
    if text is None:
        return None
    found = sha256_hex(text)
    if found != fingerprint:
        bad = BadText(sha256=fingerprint, found=found, part="schema")
        raise ChainBrokenError(bad.what, seq=0, hint=CHANGED_HINT)
    return decode_schema(text.encode())


def _alike(target: Target) -> _Group:
    """What is equal for tenants that the same migrations make the same of; a prefix does not count."""
    variables = tuple(
        sorted(variable for variable in target.variables.items() if variable[0] != "prefix")
    )
    return target.engine, target.server, variables
