"""One configuration's ledger while it is open, and the ways in which calls begin with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from ledger import events as ev
from ledger.calls.discovery import exact_names
from ledger.calls.history import require_history
from ledger.calls.opened import Look, Opened, opened
from ledger.calls.tenants import (
    Chosen,
    Stranger,
    choose_tenants,
    find_strangers,
    gone_tenants,
    wrong_ledger,
)
from ledger.config import Config, load_config
from ledger.drivers.secrets import Secrets
from ledger.drivers.url import IN_MEMORY, SecretSource
from ledger.errors import (
    LedgerError,
    NoLedgerError,
    UnknownTenantError,
    UsageError,
    WrongLedgerError,
)
from ledger.fleet.progress import Progress
from ledger.fleet.signals import Signals
from ledger.fleet.state import knows_some, load_fleet
from ledger.projections import FleetState
from ledger.requests import BackupPolicy
from ledger.requests.base import File, Tenants, Word, patterns, require
from ledger.runner.holder import actor_name

if TYPE_CHECKING:
    from ledger.calls.call import Call
    from ledger.calls.sources import Lost


def with_secrets(config: Config, secrets: Secrets) -> Config:
    """The configuration, with what its password commands answer kept in `secrets`."""

    def kept(source: SecretSource) -> SecretSource:
        return msgspec.structs.replace(source, kept=secrets) if source.command else source

    return msgspec.structs.replace(
        config,
        secret=kept(config.secret),
        tenants=tuple(
            msgspec.structs.replace(source, secret=kept(source.secret)) for source in config.tenants
        ),
    )


class Connection:
    """One configuration, and its ledger while it is open. See `ledger.api.ledger.Ledger`."""

    def __init__(
        self, config: Config, *, actor: str | None = None, progress: Progress | None = None
    ) -> None:
        self._secrets = Secrets()
        self.config = with_secrets(config, self._secrets)
        self.actor = actor or actor_name()
        self.progress: Progress = progress or Progress()
        self.signals: Signals | None = None
        self.lost: tuple[Lost, ...] = ()
        self.gone: tuple[str, ...] = ()
        self.strangers: tuple[Stranger, ...] = ()
        self._stack: AsyncExitStack | None = None
        self._opened: Opened | None = None
        self._opening: anyio.Lock

    @classmethod
    def open(
        cls,
        config: str | Path | Config | None = None,
        *,
        env: str | None = None,
        actor: str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Read the configuration (a file, or the places docs/interface.md names). Raises ConfigError."""
        require("env", env, Word | None)
        require("actor", actor, Word | None)
        if not isinstance(config, Config):
            require("config", config, File | None)
            config = load_config(Path(config) if config is not None else None, env=env)
        return cls(config, actor=actor, progress=progress)

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise UsageError(
                "this Ledger is open already", hint="Use the one that `async with` has opened."
            )
        self._stack = AsyncExitStack()
        self._opening = anyio.Lock()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._stack, self._opened = self._stack, None, None
        try:
            if stack is not None:
                await stack.__aexit__(kind, error, trace)
        finally:
            self._secrets.clear()

    @asynccontextmanager
    async def _open(self, *, create: bool) -> AsyncIterator[Opened]:
        """The open ledger. Raises NoLedgerError where there is none and none is to be made."""
        if self._opened is not None:
            yield self._opened
        elif self._stack is not None:
            async with self._opening:
                # Calls made at once share the one that was first.
                if self._opened is None:
                    self._opened = await self._stack.enter_async_context(
                        opened(self.config, create=create)
                    )
            yield self._opened
        else:
            async with opened(self.config, create=create) as ready:
                yield ready

    @asynccontextmanager
    async def _ready(self) -> AsyncIterator[Opened]:
        """For calls that need a ledger. Raises NoLedgerError, WrongLedgerError."""
        async with AsyncExitStack() as stack:
            try:
                ready = await stack.enter_async_context(self._open(create=False))
            except NoLedgerError:
                async with self._empty() as empty:
                    await self._require_right(empty)
                raise
            yield ready

    @asynccontextmanager
    async def _making(
        self, tenants: Tenants = (), *, takes_over: bool = False
    ) -> AsyncIterator[Opened]:
        """For calls that make a ledger where there is none; `takes_over`: also of tenants that have one.

        Raises WrongLedgerError, having made none, if the chosen tenants belong to another.
        """
        async with AsyncExitStack() as stack:
            try:
                ready = await stack.enter_async_context(self._open(create=False))
            except NoLedgerError:
                ready = await self._made(stack, () if takes_over else tenants)
            yield ready

    async def _made(self, stack: AsyncExitStack, tenants: Tenants) -> Opened:
        """A new ledger, if none of `tenants` has one."""
        try:
            if tenants:
                await self._refuse_strangers(tenants)
        except WrongLedgerError as wrong:
            try:
                # Another process may have made it meanwhile, and migrated them.
                return await stack.enter_async_context(self._open(create=False))
            except NoLedgerError:
                raise wrong from None
        return await stack.enter_async_context(self._open(create=True))

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Opened]:
        """For calls that must not create a ledger: one that is not there yet reads as an empty one."""
        async with AsyncExitStack() as stack:
            try:
                ready = await stack.enter_async_context(self._open(create=False))
            except NoLedgerError:
                ready = await stack.enter_async_context(self._empty())
            yield ready

    def _empty(self) -> AbstractAsyncContextManager[Opened]:
        """A ledger in memory that knows nothing."""
        empty = msgspec.structs.replace(self.config, url=IN_MEMORY)
        return opened(empty, create=True)

    async def _refuse_strangers(self, tenants: Tenants) -> None:
        """Without a ledger: raises WrongLedgerError if one of the tenants belongs to another."""
        async with self._empty() as ready:
            await self._require_right(ready, tenants)

    async def _require_right(self, ready: Opened, tenants: Tenants = "*") -> None:
        """For calls that read events alone: raises WrongLedgerError where this ledger has ended nothing
        on any tenant, or knows none of `tenants`, and another one has.

        What is wrong with the tenants themselves is not said here.
        """
        if tenants == "*" and await knows_some(ready.store):
            return
        try:
            chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
            fleet = await _fleet_of(ready, chosen)
            await self._with_strangers(ready, chosen, fleet, refuse=True)
        except WrongLedgerError:
            raise
        except LedgerError:
            return

    async def _require_history(self, ready: Opened, tenant: str | None) -> None:
        """Raises UnknownTenantError, or WrongLedgerError where another ledger knows the tenant."""
        if tenant is None:
            await self._require_right(ready)
            return
        store = ready.store
        names = exact_names([tenant])
        if names and (await load_fleet(store, names)).tenants:
            return
        try:
            require_history(await load_fleet(store), tenant)
        except UnknownTenantError:
            await self._require_right(ready, tenant)
            raise

    async def _with_strangers(
        self, ready: Opened, chosen: Chosen, fleet: FleetState, *, refuse: bool = False
    ) -> Chosen:
        """The same with its `strangers`, which are named before anything else.

        With `refuse`, raises WrongLedgerError instead.
        """
        store = ready.store
        found = await find_strangers(ready.engines, chosen.targets, fleet, store.ledger_id)
        self.strangers = found
        if not found:
            return chosen
        error = wrong_ledger(
            found,
            total=len(chosen.targets),
            ledger=str(self.config.url),
            missing=ready.config.url != self.config.url,
        )
        if refuse:
            raise error
        self.progress.message(f"warning: {error.message}. {error.hint}")
        return msgspec.structs.replace(chosen, strangers=found)

    @asynccontextmanager
    async def _call(
        self,
        command: ev.Command,
        tenants: Tenants,
        reason: str = "",
        parallel: int | None = None,
        *,
        backup: BackupPolicy | None = None,
        opening: AbstractAsyncContextManager[Opened] | None = None,
    ) -> AsyncIterator[Call]:
        """A call that works on the tenants, with a run id; `opening` is `self._ready()` by default."""
        from ledger.calls.call import Call, begin
        from ledger.fleet.run import Bounds

        async with opening or self._ready() as ready:
            ctx, chosen = await begin(
                ready,
                command,
                patterns(tenants),
                actor=self.actor,
                progress=self.progress,
                reason=reason,
                backup=backup,
            )
            self.lost = chosen.found.lost
            self.gone = gone_tenants(ctx.fleet, chosen.found, patterns(tenants))
            chosen = await self._with_strangers(ready, chosen, ctx.fleet)
            bounds = Bounds(parallel=parallel or self.config.parallel, signals=self.signals)
            yield Call(ready, ctx, chosen, bounds, self.progress)

    @asynccontextmanager
    async def _look(self, tenants: Tenants) -> AsyncIterator[Look]:
        """A call that changes nothing: the tenants, and what the ledger knows of them."""
        async with self._reading() as ready:
            chosen = await self._choose(ready, tenants)
            fleet = await _fleet_of(ready, chosen)
            yield Look(ready, fleet, await self._with_strangers(ready, chosen, fleet))

    async def _choose(self, ready: Opened, tenants: Tenants) -> Chosen:
        chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
        self.lost = chosen.found.lost
        return chosen


async def _fleet_of(ready: Opened, chosen: Chosen) -> FleetState:
    """What the ledger knows of the chosen tenants; of all, unless those were found by their names."""
    return await load_fleet(ready.store, () if chosen.found.whole else chosen.names)
