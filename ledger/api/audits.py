"""The part of `Ledger` that asks the past: events, migrations as they ran, and where objects come from.

Invariant: nothing is changed, no tenant is opened, and no ledger is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from ledger import requests as ask
from ledger.api.connection import Connection
from ledger.calls.opened import Opened
from ledger.errors import LedgerError
from ledger.events import Recorded
from ledger.requests.base import patterns, takes

if TYPE_CHECKING:
    from ledger.blame.find import Blamed
    from ledger.diff.compare import FleetDiff
    from ledger.show.event import ShownEvent
    from ledger.show.migration import ShownMigration


class Audits(Connection):
    """What a `Ledger` answers from what was recorded."""

    @takes(ask.ReadHistory)
    async def history(self, request: ask.ReadHistory) -> AsyncIterator[Recorded]:
        """Events in seq order; with `limit` the newest that many."""
        from ledger.calls.history import history_filter, read_history

        where = history_filter(request)
        async with self._ready() as ready:
            await self._require_history(ready, request.tenant)
            async with aclosing(read_history(ready.store, where, request)) as rows:
                async for row in rows:
                    yield row

    @takes(ask.Show)
    async def show(self, request: ask.Show) -> ShownEvent | ShownMigration:
        """An event with its neighbours and its run, or a migration with its texts and where it ran."""
        from ledger.show.find import show

        async with self._ready() as ready:
            if request.tenant is not None:
                await self._require_history(ready, request.tenant)
            return await show(ready.store, request)

    @takes(ask.Blame)
    async def blame(self, request: ask.Blame) -> Blamed:
        """Which migration, step, run and actor brought a TABLE or TABLE.COLUMN, and what changed it since."""
        from ledger.blame.find import blame

        async with self._ready() as ready:
            await self._require_history(ready, request.tenant)
            return await blame(ready.store, request, await self._variables(ready, request.tenant))

    @takes(ask.Diff)
    async def diff(self, request: ask.Diff) -> FleetDiff:
        """What changed between two times, by version and by tenant, as `status` at both times has it."""
        from ledger.api.between import diff

        async with self._ready() as ready:
            names = patterns(request.tenants)
            return await diff(ready, request, names, choose=self._choose)

    async def _variables(self, ready: Opened, tenant: str) -> Mapping[str, str]:
        """What placeholders mean on the tenant; nothing where no source names it any more, or none answers."""
        try:
            targets = (await self._choose(ready, tenant)).targets
        except LedgerError:
            return {}
        return next((one.variables for one in targets if one.name == tenant), {})
