"""A `[[tenants]]` table of the configuration: its keys as written, and what it comes to.

A database adds the key that names it to `RawTenants`; which of the others go with it, and what
they mean, is in its own `source.py`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, Protocol

import msgspec

from ledger.dialects.steps import DialectName
from ledger.drivers.application import Application
from ledger.drivers.url import SecretSource, Url

Positive = Annotated[int, msgspec.Meta(ge=1)]
Strings = list[str]
Variables = dict[str, str | int | float]

PREFIX: Final = re.compile(r"[A-Za-z0-9_$]+")
PREFIX_WORDS: Final = "may hold only letters, digits, _ and $"
PASSWORD_KEYS: Final = frozenset({"password_env", "password_file", "password_command"})
APPLICATION_KEYS: Final = frozenset({"functions", "extensions"})
PREFIXED_KEYS: Final = frozenset({"prefix", "tables", "neighbours"})
ESCAPED: Final = re.compile(r"\[([*?[])\]")
"""What `glob.escape` makes of a special character."""


class RawTenants(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One `[[tenants]]` table. None is a key that is not there."""

    sqlite: str | None = None
    mysql: str | None = None
    query: str | None = None
    url: str | None = None
    name: str | None = None
    databases: str | Strings | None = None
    prefixes: Strings | None = None
    prefixes_query: str | None = None
    prefix: str | None = None
    tables: Strings | None = None
    neighbours: Strings | None = None
    password_env: str | None = None
    password_file: str | None = None
    password_command: Strings | None = None
    max_connections: Positive | None = None
    session: Strings | None = None
    functions: str | None = None
    extensions: Strings | None = None
    ignore: Strings | None = None
    variables: Variables | None = None
    migrations: str | Strings | None = None
    create: bool | None = None


class TenantSource(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[tenants]]` table: where tenants are found and how they are treated.

    `source` names the table in errors. `engine` is the kind of the database that is asked. `kind`
    says which fields matter: `files` has `glob` (absolute); `databases` has `url`, and `pattern`
    (LIKE) or `databases`; `prefixes` has `url`, and `prefixes` or `prefixes_query`;
    `query` has `url` (the control plane's) and `query`, which gives name and URL.
    `prefix` is what tables of each database begin with (None: nothing is said). In prefix
    tenants `tables` are patterns of what is declared to be the tenant's own, and `neighbours`
    begin the names of what is not.
    `name` is a template for the tenant's name, `{name}` being the natural one
    (file stem, database, prefix without its last `_`, the query's first column).
    `migrations` are absolute folders; empty means those of the whole configuration.
    `ignore` are patterns for the names of objects that are no drift.
    `secret` opens `url`; tenants that a query gives use it too, unless their own
    URL brings a password.
    """

    source: str
    engine: DialectName
    kind: Literal["files", "databases", "prefixes", "query"]
    name: str = "{name}"
    glob: str = ""
    url: Url | None = None
    secret: SecretSource = SecretSource()
    pattern: str | None = None
    databases: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    prefixes_query: str | None = None
    query: str | None = None
    prefix: str | None = None
    tables: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    migrations: tuple[Path, ...] = ()
    session: tuple[str, ...] = ()
    application: Application | None = None
    ignore: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    max_connections: int = 8
    create: bool = False

    @property
    def has_wildcards(self) -> bool:
        """Whether `glob` is a pattern, and not one file's path."""
        return glob.has_magic(ESCAPED.sub("", self.glob))

    @property
    def searched(self) -> bool:
        """Whether its tenants are what it finds, and not what the configuration lists."""
        found = self.pattern is not None or self.prefixes_query is not None
        return found or self.kind == "query" or self.has_wildcards


class Named(msgspec.Struct, frozen=True):
    """A tenant that a source has: `name` is its natural one, `found` what names it in the source."""

    name: str
    found: str
    url: Url
    prefix: str | None


class Refuse(Protocol):
    """Raises ConfigError for a key of the table that is being read, with its file and line."""

    def __call__(self, key: str, message: str, *, hint: str = "") -> NoReturn: ...


Read = Callable[[RawTenants, Url | None, Path, Refuse], dict[str, Any]]
"""The fields of a TenantSource that a database's keys give, with `kind`: from the table, the URL in
its own key, and the folder that paths are relative to."""


def text_of(value: object) -> str:
    """A query's value as text: nothing for NULL; a binary column's bytes are its text in UTF-8."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "surrogateescape")
    return "" if value is None else str(value)
