"""MySQL's and MariaDB's `[[tenants]]`: databases of a server, or table prefixes in one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.drivers.url import MysqlUrl, Url
from ledger.engines.source import (
    PREFIX,
    PREFIX_WORDS,
    Named,
    RawTenants,
    Refuse,
    TenantSource,
    text_of,
)
from ledger.errors import ConfigError

SYSTEM_DATABASES: Final = ("information_schema", "mysql", "performance_schema", "sys")
SCRATCH_DATABASES: Final = ("ledger_rehearse_", "ledger_scratch_")
"""How the names of databases begin that this tool makes for a moment: never a tenant."""

Ask = Callable[[Url, str], AsyncIterator[tuple[object, ...]]]
"""Rows of a query at a URL."""


def read(raw: RawTenants, url: Url | None, _: Path, refuse: Refuse) -> dict[str, Any]:
    """See `engines.source.Read`."""
    if not isinstance(url, MysqlUrl):
        refuse("mysql", "must be a mysql:// URL", hint="SQLite files: sqlite = …")
    ways = [key for key in ("databases", "prefixes", "prefixes_query") if getattr(raw, key)]
    if len(ways) > 1:
        refuse(ways[1], f"and {ways[0]} are both set", hint="Keep one.")
    if raw.prefix is not None and ways and ways != ["databases"]:
        refuse("prefix", f"and {ways[0]} are both set", hint="Keep one.")
    if not ways or ways == ["databases"]:
        return _databases(raw, url, refuse)
    if url.database is None:
        refuse(
            "mysql",
            "names no database for the prefixes",
            hint="Write mysql://user@host:3306/DATABASE.",
        )
    if not all(map(PREFIX.fullmatch, raw.prefixes or ())):
        refuse("prefixes", PREFIX_WORDS)
    prefixes = tuple(raw.prefixes or ())
    return {"kind": "prefixes", "prefixes": prefixes, "prefixes_query": raw.prefixes_query}


def _databases(raw: RawTenants, url: MysqlUrl, refuse: Refuse) -> dict[str, Any]:
    """A pattern, a list, or the one database of the URL."""
    if raw.databases and url.database is not None:
        refuse("databases", "is set, and mysql names a database too", hint="Keep one.")
    if not raw.databases and url.database is None:
        refuse(
            "mysql",
            "does not name the databases",
            hint='Add databases = "tenant_%", or prefixes, or name one database in the URL.',
        )
    if isinstance(raw.databases, str) and raw.databases:
        return {"kind": "databases", "pattern": raw.databases}
    single = [url.database] if url.database is not None else []
    return {"kind": "databases", "databases": tuple(raw.databases or single)}


_DATABASES: Final = "SELECT schema_name FROM information_schema.schemata"
_NEEDS_QUOTING: Final = frozenset("'\\")
STORED_CASE: Final = "SELECT @@lower_case_table_names"


async def find(
    source: TenantSource, url: MysqlUrl, ask: Ask, *, only: Collection[str] | None = None
) -> list[Named]:
    """The databases or prefixes of a source; see Engine.tenants.

    A prefix is as its tables are named: in small letters where the server keeps names so.
    """
    if source.kind == "prefixes":
        prefixes = await _prefixes(source, url, ask)
        if only is not None:
            prefixes = _with_longer(prefixes, only)
        found = [Named(_natural(prefix), prefix, url, prefix) for prefix in prefixes]
    else:
        found = [
            Named(name, name, msgspec.structs.replace(url, database=name), source.prefix)
            for name in await _named_databases(source, url, ask, only)
        ]
    capitals = any(tenant.prefix and tenant.prefix != tenant.prefix.lower() for tenant in found)
    if not capitals or not await _keeps_small_letters(url, ask):
        return found
    return [
        msgspec.structs.replace(tenant, prefix=tenant.prefix and tenant.prefix.lower())
        for tenant in found
    ]


async def _keeps_small_letters(url: MysqlUrl, ask: Ask) -> bool:
    server = msgspec.structs.replace(url, database=None)
    return [text_of(row[0]) async for row in ask(server, STORED_CASE)] == ["1"]


def _natural(prefix: str) -> str:
    return prefix.rstrip("_") or prefix


def _with_longer(prefixes: Sequence[str], only: Collection[str]) -> list[str]:
    """The prefixes of these names, and the longer ones, whose tables are none of theirs."""
    wanted = tuple(one for one in prefixes if _natural(one) in only)
    small = tuple(one.lower() for one in wanted)
    return [one for one in prefixes if one.lower().startswith(small)] if wanted else []


async def _named_databases(
    source: TenantSource, url: MysqlUrl, ask: Ask, only: Collection[str] | None
) -> list[str]:
    if source.pattern is None:
        return [name for name in source.databases if only is None or name in only]
    like = source.pattern.replace("'", "''")
    # A name by itself is looked up; several at once would have the server walk over all.
    equal = [""]
    if only is not None:
        equal = [f" AND schema_name = '{name}'" for name in only if not _NEEDS_QUOTING & {*name}]
    if not equal:
        return []
    sql = " UNION ALL ".join(f"{_DATABASES} WHERE schema_name LIKE '{like}'{one}" for one in equal)
    server = msgspec.structs.replace(url, database=None)
    names = [text_of(row[0]) async for row in ask(server, sql)]
    return sorted(
        name
        for name in names
        if name.lower() not in SYSTEM_DATABASES
        and not name.startswith(SCRATCH_DATABASES)
        and (only is None or name in only)
    )


async def _prefixes(source: TenantSource, url: MysqlUrl, ask: Ask) -> list[str]:
    if source.prefixes_query is None:
        return list(source.prefixes)
    prefixes: list[str] = []
    async for row in ask(url, source.prefixes_query):
        prefix = text_of(row[0])
        if not prefix:
            raise ConfigError(
                f"{source.source}: row {len(prefixes) + 1} of prefixes_query has no prefix",
                hint="Leave rows without one out: SELECT … WHERE … IS NOT NULL.",
            )
        prefixes.append(prefix)
    return prefixes
