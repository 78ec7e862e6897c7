"""What a call needs in hand: the ledger's store, the engines, the tenants and their migrations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ledger.api.discovery import Engines, Found, choose, discover, require_some
from ledger.api.strangers import Stranger
from ledger.api.touches import Touches
from ledger.config import Config
from ledger.engines import engine_for
from ledger.engines.base import Target
from ledger.errors import ConfigError, UsageError
from ledger.folder import load_sets
from ledger.plan import Catalogue, standing
from ledger.projections import FleetState
from ledger.scripts.graph import order_sets
from ledger.scripts.model import DialectName, MigrationSet, sha256_hex
from ledger.stores import open_store
from ledger.stores.base import Store


class Opened:
    """The open ledger of one configuration."""

    def __init__(self, config: Config, store: Store, engines: Engines) -> None:
        self.config = config
        self.store = store
        self.engines = engines


@asynccontextmanager
async def opened(config: Config, *, create: bool) -> AsyncIterator[Opened]:
    """Open the store; `create` makes a ledger that is not there.

    Raises StoreUnavailableError, and UsageError where asyncio (or uvloop) does not run.
    """
    _require_asyncio()
    timeouts = config.timeouts
    engines = Engines(
        lambda name: engine_for(
            name,
            connect_seconds=timeouts.connect_seconds,
            lock_seconds=timeouts.lock_seconds,
        )
    )
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


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The tenants of one call, with the catalogue that each follows (by tenant name).

    `ledger` is the ledger's file, if it is one. `scope` names the configuration that found them,
    `known` has the catalogues of tenants that were found, chosen or not, as far as they were loaded.
    `strangers` are tenants of another ledger.
    """

    found: Found
    targets: tuple[Target, ...]
    catalogues: dict[str, Catalogue]
    engines: Engines
    ledger: Path | None = None
    warnings: tuple[str, ...] = ()
    scope: str = ""
    known: dict[str, Catalogue] = {}
    out_of_order: bool = False
    strangers: tuple[Stranger, ...] = ()


def scope_of(config: Config) -> str:
    """What tells this configuration from others that share its ledger: its file, and its environment."""
    if config.path is None:
        return ""
    return sha256_hex(f"{config.path.resolve()}\n{config.env or ''}")[:16]


async def choose_tenants(config: Config, engines: Engines, patterns: Sequence[str]) -> Chosen:
    """Discover, choose, and load what the chosen ones follow. Raises UsageError, ScriptError."""
    found = await discover(config, engines)
    if not found.lost:
        require_some(found.targets, config)
    targets = choose(found, patterns)
    if list(patterns) != ["*"]:
        # What cannot be a tenant is none of those that were asked for by name.
        found = msgspec.structs.replace(
            found, lost=tuple(one for one in found.lost if not one.aside)
        )
    loaded = await load_catalogues(config, targets)
    catalogues: dict[str, Catalogue] = {}
    followed: list[Target] = []
    touches = Touches()
    for target in targets:
        catalogue = loaded[_key(config, target)]
        catalogues[target.name] = catalogue
        followed.append(
            msgspec.structs.replace(
                target,
                sets=tuple(one.name for one in catalogue.sets),
                touches=touches.of(target, catalogue) if target.prefix else {},
            )
        )
    warnings = sorted(
        {text for one in loaded.values() for each in one.sets for text in each.warnings}
    )
    return Chosen(
        found=found,
        targets=tuple(followed),
        catalogues=catalogues,
        engines=engines,
        ledger=Path(config.url.file) if config.url.file else None,
        warnings=tuple(warnings),
        scope=scope_of(config),
        known=catalogues
        if len(targets) == len(found.targets)
        else {
            target.name: loaded[key]
            for target in found.targets
            if (key := _key(config, target)) in loaded
        },
        out_of_order=config.out_of_order == "apply",
    )


def gone_tenants(fleet: FleetState, found: Found, patterns: Sequence[str]) -> tuple[str, ...]:
    """Tenants with applied migrations that no source names any more.

    None where only some tenants were asked for, or a source that may know them did not answer.
    """
    if list(patterns) != ["*"] or not found.answered:
        return ()
    named = {target.name for target in found.targets}
    return tuple(
        sorted(name for name in fleet.tenants.keys() - named if standing(fleet.tenants[name]))
    )


_Key = tuple[DialectName, tuple[Path, ...]]


def _key(config: Config, target: Target) -> _Key:
    folders = {source.source: source.migrations for source in config.tenants}
    return target.engine, folders.get(target.source) or config.migrations


async def load_catalogues(config: Config, targets: Sequence[Target]) -> dict[_Key, Catalogue]:
    """Every combination of folders and dialect that the targets follow, loaded once."""
    catalogues: dict[_Key, Catalogue] = {}
    for key in {_key(config, target) for target in targets}:
        dialect, folders = key
        sets: dict[str, MigrationSet] = {}
        for folder in folders:
            for name, one in (
                await load_sets(folder, dialect, allow_python=config.allow_python)
            ).items():
                if name in sets:
                    raise ConfigError(
                        f"two migration sets are named {name!r}: {sets[name].path} and {one.path}",
                        hint="Rename one of the folders.",
                    )
                sets[name] = one
        ordered = tuple(sets[name] for name in sorted(sets))
        catalogues[key] = Catalogue(sets=ordered, order=order_sets(ordered))
    return catalogues
