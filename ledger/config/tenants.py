"""One `[[tenants]]` table checked: exactly one kind, and only the keys that mean something for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import msgspec

from ledger.config.raw import find_line, key_path
from ledger.drivers.application import Application
from ledger.drivers.url import SecretSource, Url, parse_url
from ledger.engines.kinds import KINDS
from ledger.engines.source import (
    APPLICATION_KEYS,
    PASSWORD_KEYS,
    PREFIX,
    PREFIX_WORDS,
    PREFIXED_KEYS,
    RawTenants,
    TenantSource,
)
from ledger.errors import ConfigError

_COMMON: Final = frozenset({"ignore", "name", "session", "variables", "migrations"})
_QUERY: Final = (
    PASSWORD_KEYS | PREFIXED_KEYS | APPLICATION_KEYS | {"url", "max_connections", "create"}
)
_ALLOWED: Final = {name: kind.keys for name, kind in KINDS.items()} | {"query": _QUERY}
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PATTERN: Final = re.compile(r"(?:[A-Za-z0-9_$*?]|\{prefix\})+")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is being read, for paths and for errors."""

    file: Path
    text: str
    root: tuple[str, ...]
    env: str | None

    @property
    def base(self) -> Path:
        """Relative paths are taken from the file's folder."""
        return self.file.parent

    def path_of(self, text: str) -> Path:
        """An absolute path; `~` is the user's home."""
        return self.base / Path(text).expanduser()

    def paths(self, value: str | list[str] | None) -> tuple[Path, ...]:
        """One path or several, absolute."""
        texts = [value] if isinstance(value, str) else value or []
        return tuple(self.path_of(text) for text in texts)

    def line_of(self, path: tuple[str | int, ...]) -> int | None:
        """The line of a key or table: in the environment's overlay if it is there."""
        roots = [(*self.root, "env", self.env)] if self.env else []
        lines = (find_line(self.text, (*root, *path)) for root in (*roots, self.root))
        return next((line for line in lines if line), None)

    def refuse(self, path: tuple[str | int, ...], message: str, *, hint: str = "") -> NoReturn:
        """Raise ConfigError for the key at `path`."""
        raise ConfigError(
            f"{key_path(path)} {message}",
            hint=hint,
            file=str(self.file),
            line=self.line_of(path),
        )


class _Passwords(Protocol):
    password_env: str | None
    password_file: str | None
    password_command: list[str] | None


def read_secret(
    raw: _Passwords, key: str, text: str | None, origin: Origin, table: tuple[str | int, ...]
) -> tuple[Url | None, SecretSource, tuple[str, ...]]:
    """A URL, where its password comes from, and warnings. Raises ConfigError."""
    url, given = None, None
    where = f"{origin.file}: {key_path((*table, key))}"
    if text is not None:
        url, given = parse_url(text, source=where, base=origin.base)
    named = sorted(name for name in PASSWORD_KEYS if getattr(raw, name))
    if len(named) > 1:
        origin.refuse(
            (*table, named[1]), f"and {named[0]} are both set", hint="Keep one of the two."
        )
    if given is not None and named:
        origin.refuse(
            (*table, named[0]),
            f"is set, and {key} holds a password too",
            hint="Remove the one in the URL.",
        )
    if given is not None:
        warning = (
            f"{where} holds a password; "
            "password_env, password_file or password_command keeps it out of the file"
        )
        return url, SecretSource(value=given), (warning,)
    if url is not None and not url.server and not table:
        return url, SecretSource(), ()
    secret = SecretSource(
        env=raw.password_env,
        file=str(origin.path_of(raw.password_file)) if raw.password_file else None,
        command=tuple(raw.password_command) if raw.password_command else None,
    )
    return url, secret, ()


def read_variables(
    given: dict[str, str | int | float] | None, origin: Origin, path: tuple[str | int, ...]
) -> dict[str, str]:
    """Variables as text; a name must be one that can stand between braces."""
    for name in given or {}:
        if not _VARIABLE.fullmatch(name):
            origin.refuse(
                path,
                f"has the name {name!r}, which cannot stand in {{braces}}",
                hint="Use letters, digits and _, not starting with a digit.",
            )
        if name == "prefix":
            origin.refuse(
                path,
                "has the name 'prefix', which is the tenant's own",
                hint="Give tenants with a table prefix as `prefixes`, give `prefix` to `databases`, or"
                " choose another name.",
            )
    return {name: str(value) for name, value in (given or {}).items()}


def folders_of(value: str | list[str]) -> list[str]:
    """`migrations` as a list; an empty one says as little as a folder without a name."""
    return ([value] if isinstance(value, str) else value) or [""]


def read_tenants(
    raw: RawTenants, index: int, origin: Origin
) -> tuple[TenantSource, tuple[str, ...]]:
    """One table as a TenantSource, and warnings. Raises ConfigError."""
    table = ("tenants", index)

    def refuse(key: str, message: str, *, hint: str = "") -> NoReturn:
        origin.refuse((*table, key), message, hint=hint)

    key = _key_of_kind(raw, table, origin)
    if raw.migrations is not None and not all(folders_of(raw.migrations)):
        refuse("migrations", "names no folder", hint="Name one, or leave it out.")
    common = _common(raw, table, origin)
    _require_names(raw, table, origin)
    url, secret = None, SecretSource()
    warnings: tuple[str, ...] = ()
    if key == "query" or KINDS[key].has_server:
        place = "url" if key == "query" else key
        url, secret, warnings = read_secret(raw, place, getattr(raw, place), origin, table)
    if key == "query":
        if url is None:
            refuse("query", "has no url", hint="Add url, the database to ask.")
        if not (raw.query or "").strip():
            refuse("query", "is empty", hint="Write SELECT name, url FROM …")
        fields: dict[str, Any] = {"kind": "query", "engine": url.engine, "query": raw.query}
    else:
        fields = {"engine": key, **KINDS[key].read(raw, url, origin.base, refuse)}
    return TenantSource(url=url, secret=secret, **common, **fields), warnings


def _key_of_kind(raw: RawTenants, table: tuple[str | int, ...], origin: Origin) -> str:
    """The key that says what the tenants are. Raises ConfigError for others that do not go with it."""
    found = [key for key in _ALLOWED if getattr(raw, key) is not None]
    if len(found) != 1:
        message = f"has {' and '.join(found)}" if found else "says not where its tenants are"
        choice = f"{', '.join(KINDS)} and query"
        origin.refuse(table, message, hint=f"Give exactly one of {choice}.")
    key = found[0]
    allowed = _COMMON | _ALLOWED[key]
    for field in msgspec.structs.fields(RawTenants):
        if getattr(raw, field.name) is not None and field.name not in {key, *allowed}:
            origin.refuse(
                (*table, field.name),
                f"has no meaning beside {key}",
                hint=f"With {key} the keys are {', '.join(sorted(allowed))}.",
            )
    return key


def _common(raw: RawTenants, table: tuple[str | int, ...], origin: Origin) -> dict[str, Any]:
    name = raw.name if raw.name is not None else "{name}"
    if re.sub(r"\{name\}", "", name).strip("{}") != re.sub(r"\{name\}", "", name) or not name:
        origin.refuse((*table, "name"), "may hold {name} and no other braces")
    line = origin.line_of(table)
    source = f"{key_path(table)} ({origin.file.name}{f':{line}' if line else ''})"
    return {
        "source": source,
        "name": name,
        "migrations": origin.paths(raw.migrations),
        "session": tuple(raw.session or ()),
        "application": _application(raw, table, origin, source),
        "ignore": tuple(raw.ignore or ()),
        "variables": read_variables(raw.variables, origin, (*table, "variables")),
        "max_connections": raw.max_connections or 8,
        "create": bool(raw.create),
        "prefix": raw.prefix,
        "tables": tuple(raw.tables or ()),
        "neighbours": tuple(raw.neighbours or ()),
    }


def _application(
    raw: RawTenants, table: tuple[str | int, ...], origin: Origin, source: str
) -> Application | None:
    if raw.functions is not None and not _FUNCTION.fullmatch(raw.functions):
        origin.refuse(
            (*table, "functions"), "is not MODULE:NAME", hint='Write functions = "app.db:prepare".'
        )
    if not all(raw.extensions or ()):
        origin.refuse((*table, "extensions"), "names no file", hint="Name a file, or leave it out.")
    if raw.functions is None and not raw.extensions:
        return None
    return Application(
        source=source,
        functions=raw.functions or "",
        extensions=tuple(_extension(extension, origin) for extension in raw.extensions or ()),
        folder=str(origin.base),
    )


def _extension(text: str, origin: Origin) -> str:
    """A name without a folder is left to the system's loader, unless such a file is there."""
    path = origin.path_of(text)
    return str(path) if "/" in text or path.exists() else text


def _require_names(raw: RawTenants, table: tuple[str | int, ...], origin: Origin) -> None:
    """Raises ConfigError for prefixes and patterns that no table's name can fit."""
    if raw.prefix and not PREFIX.fullmatch(raw.prefix):
        origin.refuse((*table, "prefix"), PREFIX_WORDS)
    if not all(map(PREFIX.fullmatch, raw.neighbours or ())):
        origin.refuse((*table, "neighbours"), PREFIX_WORDS, hint='Write neighbours = ["wp_shop_"].')
    if not all(map(_PATTERN.fullmatch, raw.tables or ())):
        origin.refuse(
            (*table, "tables"),
            f"{PREFIX_WORDS}, and * and ? in patterns",
            hint='Write tables = ["shop_*"].',
        )
    for key in ("tables", "neighbours"):
        if getattr(raw, key) and not (raw.prefix or raw.prefixes or raw.prefixes_query):
            origin.refuse(
                (*table, key),
                "says whose the tables beside a prefix are, and these tenants have no prefix",
                hint="Leave it out: without a prefix a whole database is the tenant's.",
            )
