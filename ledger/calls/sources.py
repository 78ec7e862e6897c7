"""One `[[tenants]]` source: each database that it names as a tenant, or why it cannot be one.

Invariant: names are safe as path parts and on a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from typing import Final

import msgspec

from ledger.config import Config
from ledger.drivers.url import SecretSource, Url, parse_url
from ledger.engines.base import Engine, Target
from ledger.engines.kinds import KINDS
from ledger.engines.source import TenantSource, text_of
from ledger.errors import ConfigError, TenantError, UnfitTenantError
from ledger.scripts.placeholders import validate_identifier_value

MAX_NAME: Final = 128


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A source that could not be asked for its tenants; `engine` is that of the database asked.

    With `aside` the source answered, and this is one of what it found, which cannot be a tenant.
    """

    source: str
    engine: str
    error: TenantError
    aside: bool = False


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


async def from_source(
    config: Config, source: TenantSource, engines: Engines, only: Collection[str] | None
) -> AsyncIterator[Target | Lost]:
    """What one source names: all tenants, or at least those of these names. Raises LedgerError."""
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
