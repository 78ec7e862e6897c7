"""From the configuration's `[[tenants]]` to the tenants there are.

Invariant: names are unique over all sources (two tenants with one name are an
error that names both), and the same tenant has the same name in every run. No database has two names, since it is
claimed by its name; the ledger's own is no tenant, since restoring it would
take back what was recorded.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from ledger.calls.sources import Engines, Lost, from_source
from ledger.config import Config
from ledger.drivers.application import load
from ledger.engines.base import Target
from ledger.engines.source import TenantSource
from ledger.errors import (
    ConfigError,
    LedgerError,
    TenantError,
    UnknownTenantError,
    UsageError,
)
from ledger.fleet.fanout import each

SOURCES_AT_ONCE: Final = 16
NAMES_AT_ONCE: Final = 64
"""Tenants that are asked for one by one; for more, all are asked for at once."""
GLOB: Final = frozenset("*?[]")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All tenants by name, the sources that did not answer, and what cannot be a tenant.

    Without `whole` only some were asked for, and nothing follows from a tenant's absence.
    """

    targets: tuple[Target, ...]
    lost: tuple[Lost, ...] = ()
    whole: bool = True

    @property
    def answered(self) -> bool:
        """Whether all sources did, so that a tenant that none of them names is gone."""
        return all(lost.aside for lost in self.lost)


async def discover(config: Config, engines: Engines, only: Collection[str] | None = None) -> Found:
    """Ask every source: for all tenants, or for those of these names, which costs the same in any fleet.

    More may come than those. Raises ConfigError for repeated names and repeated databases, for unsafe names where the
    configuration itself has them or where there are no others, and for an application's
    functions that cannot be imported.
    """
    targets: dict[str, Target] = {}
    lost: list[Lost] = []
    for source in config.tenants:
        if source.application is not None:
            load(source.application)
    own = config.url.place
    places: dict[tuple[object, ...], Target] = {}
    if only is not None:
        only = _natural_names(config.tenants, only)
    answers = await _all_sources(config, engines, only)
    for source, found in zip(config.tenants, answers, strict=True):
        if isinstance(found, TenantError):
            lost.append(Lost(source=source.source, engine=source.engine, error=found))
        elif isinstance(found, LedgerError):
            raise found
        else:
            for target in found:
                if isinstance(target, Lost):
                    lost.append(target)
                    continue
                place = target.url.place
                if place == own and not target.prefix:
                    _require_searched(target, source)
                    continue
                other = targets.get(target.name)
                if other is not None:
                    raise ConfigError(
                        f"two tenants are named {target.name!r}: {_place(other)} ({other.source})"
                        f" and {_place(target)} ({target.source})",
                        hint='Give them different names with name = "something-{name}" in one of the sources.',
                    )
                targets[target.name] = target
                _require_apart(places.setdefault((*place, target.prefix), target), target)
    _require_no_whole(places)
    if not targets and lost and all(source.aside for source in lost):
        raise ConfigError(f"{lost[0].source}: {lost[0].error.message}", hint=lost[0].error.hint)
    ordered = tuple(targets[name] for name in sorted(targets))
    return Found(targets=_with_neighbours(ordered), lost=tuple(lost), whole=only is None)


def _natural_names(
    sources: Sequence[TenantSource], names: Collection[str]
) -> frozenset[str] | None:
    """What the tenants of these names are called in their sources; None where only asking for all settles that.

    Each source is asked for all of them, so that one that gives the same database another name is noticed.
    """
    if len(sources) > 1 and sum(bool(one.prefix) or one.kind == "prefixes" for one in sources) > 1:
        # They may have each other's neighbours.
        return None
    found: set[str] = set()
    for source in sources:
        before, template, after = source.name.partition("{name}")
        if not template or template in after:
            return None
        found.update(
            name[len(before) : len(name) - len(after)]
            for name in names
            if len(name) > len(before) + len(after)
            and name.startswith(before)
            and name.endswith(after)
        )
    return frozenset(found)


async def _all_sources(
    config: Config, engines: Engines, only: Collection[str] | None
) -> list[list[Target | Lost] | LedgerError]:
    """What each source names, or its error; a server that does not answer keeps no other waiting."""

    async def ask(source: TenantSource) -> list[Target | Lost] | LedgerError:
        try:
            return [found async for found in from_source(config, source, engines, only)]
        except LedgerError as error:
            return error

    return await each(config.tenants, ask, parallel=SOURCES_AT_ONCE)


def _require_searched(target: Target, source: TenantSource) -> None:
    """A pattern may find the ledger, which is left out. Raises ConfigError where it is named."""
    if source.kind == "query" or not source.searched:
        raise ConfigError(
            f"{source.source}: tenant {target.name} is the ledger's own database, {_place(target)}",
            hint="Give the ledger a database of its own: `url` in the configuration.",
        )


def _require_apart(other: Target, target: Target) -> None:
    """Raises ConfigError if two names stand for one database."""
    if other is not target:
        raise ConfigError(
            f"tenants {other.name!r} and {target.name!r} are one database:"
            f" {_place(other)} ({other.source}) and {_place(target)} ({target.source})",
            hint="Leave one of the two out; for a tenant that follows several sets, list"
            " their folders in its `migrations`.",
        )


def _require_no_whole(places: Mapping[tuple[object, ...], Target]) -> None:
    """Raises ConfigError for a tenant that is all of a database in which others have a prefix.

    A restore of the one would take back the others, without their claims.
    """
    for (*place, prefix), target in places.items():
        whole = places.get((*place, "")) if prefix else None
        if whole is not None:
            raise ConfigError(
                f"tenant {whole.name!r} is a whole database, {_place(whole)} ({whole.source}), in which"
                f" {target.name!r} has the prefix {target.prefix} ({target.source})",
                hint="Leave one of the two out, or give the first a prefix too.",
            )


def _with_neighbours(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Give each prefix tenant the longer prefixes of others in its database (`wp_` and `wp_2_`)."""
    prefixes: dict[tuple[object, ...], list[str]] = {}
    for target in targets:
        if target.prefix:
            prefixes.setdefault(target.url.place, []).append(target.prefix)
    marked = []
    for target in targets:
        others = tuple(
            prefix
            for prefix in (prefixes[target.url.place] if target.prefix else ())
            if prefix != target.prefix and prefix.startswith(target.prefix)
        )
        marked.append(
            msgspec.structs.replace(target, neighbours=(*target.neighbours, *others))
            if others
            else target
        )
    return tuple(marked)


def exact_names(patterns: Sequence[str]) -> tuple[str, ...]:
    """The tenants' names, if a few are asked for by name; nothing where others may be meant too."""
    few = len(patterns) <= NAMES_AT_ONCE and not any(set(one) & GLOB for one in patterns)
    return tuple(dict.fromkeys(patterns)) if few else ()


def choose(found: Found, patterns: Sequence[str]) -> tuple[Target, ...]:
    """The tenants that any of the names or globs matches; each must match one.

    Raises UnknownTenantError.
    """
    if list(patterns) == ["*"]:
        return found.targets
    chosen: dict[str, Target] = {}
    for pattern in patterns:
        matching = [
            target
            for target in found.targets
            if target.name == pattern or fnmatch.fnmatchcase(target.name, pattern)
        ]
        if not matching:
            names = [target.name for target in found.targets]
            unasked = "".join(
                f"; {lost.source}{'' if lost.aside else ' did not answer'}: {lost.error}"
                for lost in found.lost
            )
            raise UnknownTenantError(
                f"no tenant matches {pattern!r}{unasked}", hint=_known_names(pattern, names)
            )
        chosen.update((target.name, target) for target in matching)
    return tuple(chosen[name] for name in sorted(chosen))


def _known_names(pattern: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern, names, n=3)
    if near:
        return f"Did you mean {', '.join(near)}? `ledger tenants` lists all {len(names)}."
    return f"`ledger tenants` lists all {len(names)}."


def _place(target: Target) -> str:
    return f"{target.url}{' prefix ' + target.prefix if target.prefix else ''}"


def require_some(targets: Sequence[Target], config: Config) -> None:
    """Raises UsageError when a configuration finds no tenant at all."""
    if not targets:
        sources = "; ".join(_what(source) for source in config.tenants)
        raise UsageError(
            "no tenant was found"
            + (f" ({sources})" if sources else ": no [[tenants]] is configured"),
            hint=f"Check [[tenants]] in {config.path or 'the configuration'}.",
        )


def _what(source: TenantSource) -> str:
    return f"{source.source}: {source.glob or source.pattern or source.query or source.kind}"
