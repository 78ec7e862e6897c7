"""The tenants of one call: found, chosen, with the migrations that each follows; and those of another ledger.

A wrong or deleted ledger knows nothing of its tenants, and a copied tenant is unknown to the right
one. Only tenants are asked whose they are for which this ledger has never ended anything, so that a
fleet that is known costs nothing.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ledger.calls.discovery import (
    Found,
    choose,
    discover,
    exact_names,
    require_some,
)
from ledger.calls.sources import Engines
from ledger.config import Config
from ledger.dialects.steps import DialectName, sha256_hex
from ledger.engines.base import Target
from ledger.engines.entries import FOREIGN_HINT, foreign
from ledger.errors import ConfigError, ForeignLedgerError, WrongLedgerError
from ledger.plan import Catalogue, standing
from ledger.projections import FleetState
from ledger.scripts.graph import order_sets
from ledger.scripts.model import MigrationSet
from ledger.scripts.touching import Touched, touched_by

NAMES_SHOWN: Final = 5


class Stranger(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant whose marker names the ledger `owner`, and not the one at hand."""

    tenant: str
    owner: str
    error: ForeignLedgerError


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

    @property
    def names(self) -> list[str]:
        """The chosen tenants' names."""
        return [target.name for target in self.targets]


def scope_of(config: Config) -> str:
    """A hash of the configuration's file and environment: it differs from others that share the ledger."""
    if config.path is None:
        return ""
    return sha256_hex(f"{config.path.resolve()}\n{config.env or ''}")[:16]


async def choose_tenants(
    config: Config, engines: Engines, patterns: Sequence[str], *, whole: bool = False
) -> Chosen:
    """Discover, choose, and load what the chosen ones follow. Raises UsageError, ScriptError.

    Tenants that are named are asked for by name, unless the `whole` fleet is to be found.
    """
    found = await discover(config, engines, None if whole else exact_names(patterns) or None)
    if not found.whole and not {*patterns} <= {one.name for one in found.targets}:
        found = await discover(config, engines)
    if not found.lost:
        require_some(found.targets, config)
    targets = choose(found, patterns)
    if list(patterns) != ["*"]:
        # What cannot be a tenant is none of those that were asked for by name.
        found = msgspec.structs.replace(
            found, lost=tuple(lost for lost in found.lost if not lost.aside)
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
                sets=tuple(migration_set.name for migration_set in catalogue.sets),
                touches=touches.of(target, catalogue) if target.prefix else {},
            )
        )
    warnings = sorted(
        {text for catalogue in loaded.values() for each in catalogue.sets for text in each.warnings}
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
        if found.whole and len(targets) == len(found.targets)
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


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the names or globs means this tenant."""
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


_Key = tuple[DialectName, tuple[Path, ...]]


def _key(config: Config, target: Target) -> _Key:
    folders = {source.source: source.migrations for source in config.tenants}
    return target.engine, folders.get(target.source) or config.migrations


async def load_catalogues(config: Config, targets: Sequence[Target]) -> dict[_Key, Catalogue]:
    """Every combination of folders and dialect that the targets follow, loaded once."""
    from ledger.folder import load_sets

    catalogues: dict[_Key, Catalogue] = {}
    for key in {_key(config, target) for target in targets}:
        dialect, folders = key
        sets: dict[str, MigrationSet] = {}
        for folder in folders:
            for name, migration_set in (
                await load_sets(folder, dialect, allow_python=config.allow_python)
            ).items():
                if name in sets:
                    raise ConfigError(
                        f"two migration sets are named {name!r}: {sets[name].path} and {migration_set.path}",
                        hint="Rename one of the folders.",
                    )
                sets[name] = migration_set
        ordered = tuple(sets[name] for name in sorted(sets))
        catalogues[key] = Catalogue(sets=ordered, order=order_sets(ordered))
    return catalogues


class Touches:
    """By migration id, for a catalogue and variables. Not to outlive the call: catalogues are compared by identity."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, tuple[tuple[str, str], ...]], Mapping[str, Touched]] = {}

    def of(self, target: Target, catalogue: Catalogue) -> Mapping[str, Touched]:
        """What the catalogue's migrations touch in this tenant, `{prefix}` left in."""
        others = {name: value for name, value in target.variables.items() if name != "prefix"}
        key = (id(catalogue), tuple(sorted(others.items())))
        if key not in self._known:
            self._known[key] = {
                migration.id: touched_by(migration, others) for migration in catalogue.order
            }
        return self._known[key]


async def find_strangers(
    engines: Engines, targets: Sequence[Target], fleet: FleetState, ledger_id: str
) -> tuple[Stranger, ...]:
    """Those of `targets` that the ledger does not know and another one does, in their order."""
    unknown: dict[str, list[Target]] = {}
    for target in targets:
        if fleet.tenant(target.name).mark is None:
            unknown.setdefault(target.engine, []).append(target)
    owners: dict[str, str] = {}
    for name, group in unknown.items():
        owners |= await engines[name].owners(group)
    return tuple(
        Stranger(
            tenant=target.name, owner=owner, error=foreign(owner, ledger_id, tenant=target.name)
        )
        for target in targets
        if (owner := owners.get(target.name, ledger_id)) != ledger_id
    )


def wrong_ledger(
    strangers: Sequence[Stranger], *, total: int, ledger: str, missing: bool = False
) -> WrongLedgerError:
    """What to say of them before anything else, with the likely cause first."""
    names = [stranger.tenant for stranger in strangers]
    shown = ", ".join(names[:NAMES_SHOWN]) + (" …" if len(names) > NAMES_SHOWN else "")
    owners = sorted({stranger.owner for stranger in strangers})
    which = f"another ledger ({owners[0]})" if len(owners) == 1 else f"{len(owners)} other ledgers"
    belong = "belongs" if len(names) == 1 else "belong"
    here = f"there is no ledger at {ledger}" if missing else f"{ledger} knows nothing of them"
    return WrongLedgerError(
        f"{len(names):,} of {total:,} tenants ({shown}) {belong} to {which}, and {here}",
        hint=FOREIGN_HINT,
    )
