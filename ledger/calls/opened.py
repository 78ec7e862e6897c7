"""The open ledger of one configuration, and the engines of its tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from ledger.calls.sources import Engines
from ledger.calls.tenants import Chosen
from ledger.config import Config
from ledger.engines import engine_for
from ledger.errors import UsageError
from ledger.plan import Options
from ledger.projections import FleetState
from ledger.stores import open_store
from ledger.stores.store import Store


class Opened:
    """The open ledger of one configuration."""

    def __init__(self, config: Config, store: Store, engines: Engines) -> None:
        self.config = config
        self.store = store
        self.engines = engines

    def options(self, to: str | None = None, out_of_order: bool | None = None) -> Options:
        """What decides what is pending: as asked for, else as configured."""
        late = self.config.out_of_order == "apply" if out_of_order is None else out_of_order
        return Options(to=to, out_of_order=late, strict=self.config.strict)


def new_engines(config: Config) -> Engines:
    """Engines with the configured time-outs, none of them open yet; the caller closes them."""
    timeouts = config.timeouts
    return Engines(
        lambda name: engine_for(
            name,
            connect_seconds=timeouts.connect_seconds,
            lock_seconds=timeouts.lock_seconds,
        )
    )


@asynccontextmanager
async def opened(config: Config, *, create: bool) -> AsyncIterator[Opened]:
    """Open the store; `create` makes a ledger that is not there.

    Raises StoreUnavailableError, and UsageError where asyncio (or uvloop) does not run.
    """
    _require_asyncio()
    engines = new_engines(config)
    try:
        async with open_store(config.url, config.secret, create=create) as store:
            yield Opened(config, store, engines)
    finally:
        await engines.aclose()


def _require_asyncio() -> None:
    """The databases' drivers are asyncio's, whatever anyio itself could run on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "the ledger works under asyncio and uvloop only, and another event loop is running",
            hint="Call it with asyncio.run(…) or anyio.run(…), from trio in a thread of its own.",
        ) from None


class Look(NamedTuple):
    """The chosen tenants, and what the ledger knows of them."""

    ready: Opened
    fleet: FleetState
    chosen: Chosen
