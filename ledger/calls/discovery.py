"""From the configuration's `[[tenants]]` to the tenants there are.

Invariant: names are safe as path parts and on a terminal, unique over all
sources (two tenants with one name are an error that names both), and the same
tenant has the same name in every run. No database has two names, since it is
claimed by its name; the ledger's own is no tenant, since restoring it would
take back what was recorded.
"""

from __future__ import annotations

import difflib
import fnmatch
import unicodedata
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from ledger.config import Config
from ledger.drivers.application import load
from ledger.drivers.url import SecretSource, Url, parse_url
from ledger.engines.base import Engine, Target
from ledger.engines.kinds import KINDS
from ledger.engines.source import TenantSource, text_of
from ledger.errors import (
    ConfigError,
    LedgerError,
    TenantError,
    UnfitTenantError,
    UnknownTenantError,
    UsageError,
)
from ledger.fleet.fanout import each
from ledger.scripts.placeholders import validate_identifier_value

MAX_NAME: Final = 128
SOURCES_AT_ONCE: Final = 16
NAMES_AT_ONCE: Final = 64
"""Tenants that are asked for one by one; for more, all are asked for at once."""
GLOB: Final = frozenset("*?[]")


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A source that could not be asked for its tenants; `engine` is that of the database asked.

    With `aside` the source answered, and this is one of what it found, which cannot be a tenant.
    """

    source: str
    engine: str
    error: TenantError
    aside: bool = False


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


class Engines:
    """The engines in use, opened on demand and closed together."""

    def __init__(self, make: Callable[[str], Engine]) -> None:
        self._make = make
        self._open: dict[str, Engine] = {}

    def __getitem__(self, name: str) -> Engine:
        if name not in self._open:
            self._open[name] = self._make(name)
        return self._open[name]

    async def aclose(self) -> None:
        """Close all that were opened."""
        for engine in self._open.values():
            await engine.aclose()
        self._open.clear()


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
            return [found async for found in _from_source(config, source, engines, only)]
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


async def _from_source(
    config: Config, source: TenantSource, engines: Engines, only: Collection[str] | None
) -> AsyncIterator[Target | Lost]:
    if source.kind == "query":
        async for target in _from_query(config, source, engines, only):
            yield target
        return
    alone = len(config.tenants) == 1
    for one in await engines[source.engine].tenants(source, alone=alone, only=only):
        make = partial(_target, config, source, one.name, one.url, prefix=one.prefix)
        yield _apart(source, repr(one.found), make)


async def _from_query(
    config: Config, source: TenantSource, engines: Engines, only: Collection[str] | None
) -> AsyncIterator[Target | Lost]:
    assert source.url is not None and source.query is not None  # noqa: S101 - the loader's promise
    engine = engines[source.engine]
    number = 0
    async for row in engine.query(source.url, source.secret, source.query):
        number += 1
        name, text = (text_of(value) for value in (*row, None, None)[:2])
        if only is not None and name not in only:
            continue
        where = f"row {number}"
        yield _apart(source, where, partial(_of_row, config, source, name, text, where=where))


def _of_row(config: Config, source: TenantSource, name: str, text: str, *, where: str) -> Target:
    """The tenant of a row. Raises ConfigError for one that says none."""
    if not name or not text:
        raise ConfigError(
            f"{where} of the query has no name or no url",
            hint="The query must give two columns: the tenant's name and its URL.",
        )
    url, password = parse_url(text, source=f"{source.source}, {where}", base=config.base)
    secret = SecretSource(value=password) if password else source.secret
    if source.prefix and not url.server:
        raise ConfigError(
            f"{where}: tenant {name} is a {KINDS[url.engine].label} file, and the source has a prefix",
            hint="Leave such rows out, or give them a [[tenants]] of their own without prefix.",
        )
    return _target(config, source, name, url, prefix=source.prefix, secret=secret)


def _apart(source: TenantSource, label: str, make: Callable[[], Target]) -> Target | Lost:
    """The tenant, or, where it was found and not named by the configuration, why it cannot be one.

    Raises ConfigError as `make` does where the configuration itself names it.
    """
    try:
        return make()
    except ConfigError as error:
        if not source.searched:
            raise ConfigError(f"{source.source}: {error.message}", hint=error.hint) from error
        return Lost(
            source=f"{source.source}, {label}",
            engine=source.engine,
            error=UnfitTenantError(error.message, hint=error.hint),
            aside=True,
        )


def _target(
    config: Config,
    source: TenantSource,
    natural: str,
    url: Url,
    *,
    prefix: str | None = None,
    secret: SecretSource | None = None,
) -> Target:
    name = source.name.replace("{name}", natural)
    check_name(name)
    kind = KINDS[url.engine]
    if prefix:
        validate_identifier_value("prefix", prefix)
    variables = {
        "charset_collate": kind.charset_collate,
        **config.variables,
        **source.variables,
    }
    if prefix is not None:
        variables["prefix"] = prefix
    return Target(
        name=name,
        engine=url.engine,
        url=url,
        source=source.source,
        prefix=prefix or "",
        secret=source.secret if secret is None else secret,
        variables=variables,
        session=source.session,
        application=source.application if "functions" in kind.keys else None,
        ignore=source.ignore,
        max_connections=source.max_connections,
        create=source.create,
        neighbours=source.neighbours if prefix else (),
        tables=source.tables if prefix else (),
        owns_all=bool(prefix) and source.kind != "prefixes" and not source.tables,
    )


def check_name(name: str) -> None:
    """Raises ConfigError for a name that is no safe path part or hides something on a terminal."""
    bad = (
        not name
        or len(name) > MAX_NAME
        or name in (".", "..")
        or name[0] in "-."
        or name != name.strip()
        or any(_is_unsafe(char) for char in name)
    )
    if bad:
        raise ConfigError(
            f"{name!r} cannot be a tenant's name",
            hint="Rename it, or leave it out of the source: a name has up to 128 characters, no path"
            " parts, no control characters, none of * ? [ ], and begins with neither - nor a dot;"
            ' `name` in the source may put something before it: name = "t{name}".',
        )


def _is_unsafe(char: str) -> bool:
    """Path separators, glob characters, control characters and any space but the plain one."""
    return char in "/\\*?[]" or (char != " " and unicodedata.category(char)[0] in "CZ")


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
