"""What every call of `Ledger` begins with: the configuration, the open store, the chosen tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from ledger import events as ev
from ledger.api.arguments import patterns, require_arguments
from ledger.api.opened import Chosen, Opened, choose_tenants, gone_tenants, opened
from ledger.api.running import Tenants, begin
from ledger.config import Config, load_config
from ledger.drivers.secrets import Secrets
from ledger.drivers.url import SecretSource, SqliteUrl
from ledger.errors import UsageError
from ledger.fleet.progress import Progress, Unwatched
from ledger.fleet.run import Bounds
from ledger.fleet.signals import Signals
from ledger.plan import Options
from ledger.runner.context import BackupPolicy, RunContext
from ledger.runner.holder import actor_name

if TYPE_CHECKING:
    from ledger.api.discovery import Lost


def with_secrets(config: Config, secrets: Secrets) -> Config:
    """The configuration, with what its password commands answer kept in `secrets`."""

    def kept(source: SecretSource) -> SecretSource:
        return msgspec.structs.replace(source, kept=secrets) if source.command else source

    return msgspec.structs.replace(
        config,
        secret=kept(config.secret),
        tenants=tuple(
            msgspec.structs.replace(one, secret=kept(one.secret)) for one in config.tenants
        ),
    )


class Opening:
    """One configuration, and its ledger while it is open. See `ledger.api.ledger.Ledger`."""

    def __init__(
        self, config: Config, *, actor: str | None = None, progress: Progress | None = None
    ) -> None:
        self._secrets = Secrets()
        self.config = with_secrets(config, self._secrets)
        self.actor = actor or actor_name()
        self.progress: Progress = progress or Unwatched()
        self.signals: Signals | None = None
        self.lost: tuple[Lost, ...] = ()
        self.gone: tuple[str, ...] = ()
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
        require_arguments(env=env, actor=actor)
        if not isinstance(config, Config):
            require_arguments(config=config)
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
    async def _ready(self, *, create: bool = False) -> AsyncIterator[Opened]:
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
    async def _reading(self) -> AsyncIterator[Opened]:
        """For calls that must not create a ledger: one that is not there yet reads as an empty one."""
        url = self.config.url
        missing = isinstance(url, SqliteUrl) and not await anyio.Path(url.path).exists()
        if missing and self._opened is None:
            empty = msgspec.structs.replace(self.config, url=SqliteUrl(path=":memory:"))
            async with opened(empty, create=True) as ready:
                yield ready
        else:
            async with self._ready() as ready:
                yield ready

    def _options(self, to: str | None, out_of_order: bool | None) -> Options:
        late = self.config.out_of_order == "apply" if out_of_order is None else out_of_order
        return Options(to=to, out_of_order=late, strict=self.config.strict)

    def _bounds(self, parallel: int | None) -> Bounds:
        return Bounds(parallel=parallel or self.config.parallel, signals=self.signals)

    async def _begin(
        self,
        ready: Opened,
        command: ev.Command,
        tenants: Tenants,
        *,
        reason: str = "",
        backup: BackupPolicy | None = None,
    ) -> tuple[RunContext, Chosen]:
        ctx, chosen = await begin(
            ready,
            command,
            tenants,
            actor=self.actor,
            progress=self.progress,
            reason=reason,
            backup=backup,
        )
        self.lost = chosen.found.lost
        self.gone = gone_tenants(ctx.fleet, chosen.found, patterns(tenants))
        return ctx, chosen

    async def _choose(self, ready: Opened, tenants: Tenants) -> Chosen:
        chosen = await choose_tenants(self.config, ready.engines, patterns(tenants))
        self.lost = chosen.found.lost
        return chosen
