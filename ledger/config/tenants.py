"""One `[[tenants]]` table checked: exactly one kind, and only the keys that mean something for it."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol

import msgspec

from ledger.config.model import TenantSource
from ledger.config.raw import RawTenants, find_line, key_path
from ledger.drivers.application import Application
from ledger.drivers.url import MysqlUrl, SecretSource, SqliteUrl, parse_url
from ledger.errors import ConfigError

_COMMON: Final = frozenset({"ignore", "name", "session", "variables", "migrations"})
_PASSWORDS: Final = frozenset({"password_env", "password_file", "password_command"})
_APPLICATION: Final = frozenset({"functions", "extensions"})
_PREFIXED: Final = frozenset({"prefix", "tables", "neighbours"})
_ALLOWED: Final[dict[str, frozenset[str]]] = {
    "sqlite": _COMMON | _APPLICATION | {"sqlite", "create", "prefix"},
    "mysql": _COMMON
    | _PASSWORDS
    | _PREFIXED
    | {"mysql", "databases", "prefixes", "prefixes_query", "max_connections"},
    "query": _COMMON
    | _PASSWORDS
    | _PREFIXED
    | _APPLICATION
    | {"query", "url", "max_connections", "create"},
}
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_$]+")
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

    def refuse(self, path: tuple[str | int, ...], message: str, *, hint: str = "") -> NoReturn:
        """Raise ConfigError for the key at `path`."""
        roots = [(*self.root, "env", self.env)] if self.env else []
        lines = (find_line(self.text, (*root, *path)) for root in (*roots, self.root))
        line = next((line for line in lines if line), None)
        raise ConfigError(f"{key_path(path)} {message}", hint=hint, file=str(self.file), line=line)


class _Passwords(Protocol):
    password_env: str | None
    password_file: str | None
    password_command: list[str] | None


def read_secret(
    raw: _Passwords, key: str, text: str | None, origin: Origin, table: tuple[str | int, ...]
) -> tuple[SqliteUrl | MysqlUrl | None, SecretSource, tuple[str, ...]]:
    """A URL, where its password comes from, and warnings. Raises ConfigError."""
    url, given = None, None
    if text is not None:
        source = f"{origin.file}: {key_path((*table, key))}"
        url, given = parse_url(text, source=source, base=origin.base)
    named = sorted(name for name in _PASSWORDS if getattr(raw, name))
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
            f"{origin.file}: {key_path((*table, key))} holds a password; "
            "password_env, password_file or password_command keeps it out of the file"
        )
        return url, SecretSource(value=given), (warning,)
    if isinstance(url, SqliteUrl) and key == "url" and not table:
        return url, SecretSource(), ()
    file = origin.path_of(raw.password_file) if raw.password_file else None
    return (
        url,
        SecretSource(
            env=raw.password_env,
            file=str(file) if file else None,
            command=tuple(raw.password_command) if raw.password_command else None,
        ),
        (),
    )


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
    kinds = [name for name in ("sqlite", "mysql", "query") if getattr(raw, name) is not None]
    if len(kinds) != 1:
        found = f"has {' and '.join(kinds)}" if kinds else "says not where its tenants are"
        origin.refuse(table, found, hint="Give exactly one of sqlite, mysql and query.")
    kind = kinds[0]
    for field in msgspec.structs.fields(RawTenants):
        if getattr(raw, field.name) is not None and field.name not in _ALLOWED[kind]:
            origin.refuse(
                (*table, field.name),
                f"means nothing beside {kind}",
                hint=f"With {kind} the keys are {', '.join(sorted(_ALLOWED[kind] - {kind}))}.",
            )
    if raw.migrations is not None and not all(folders_of(raw.migrations)):
        origin.refuse((*table, "migrations"), "names no folder", hint="Name one, or leave it out.")
    common = _common(raw, table, origin)
    _require_names(raw, table, origin)
    if kind == "sqlite":
        return _sqlite(raw, table, origin, common), ()
    key = "mysql" if kind == "mysql" else "url"
    url, secret, warnings = read_secret(raw, key, getattr(raw, key), origin, table)
    common |= {"url": url, "secret": secret}
    if kind == "query":
        return _query(raw, table, origin, common), warnings
    if not isinstance(url, MysqlUrl):
        origin.refuse((*table, "mysql"), "must be a mysql:// URL", hint="SQLite files: sqlite = …")
    return _mysql(raw, url, table, origin, common), warnings


def _common(raw: RawTenants, table: tuple[str | int, ...], origin: Origin) -> dict[str, Any]:
    name = raw.name if raw.name is not None else "{name}"
    if re.sub(r"\{name\}", "", name).strip("{}") != re.sub(r"\{name\}", "", name) or not name:
        origin.refuse((*table, "name"), "may hold {name} and no other braces")
    return {
        "source": _source_name(raw, table, origin),
        "name": name,
        "migrations": origin.paths(raw.migrations),
        "session": tuple(raw.session or ()),
        "application": _application(raw, table, origin),
        "ignore": tuple(raw.ignore or ()),
        "variables": read_variables(raw.variables, origin, (*table, "variables")),
        "max_connections": raw.max_connections or 8,
        "create": bool(raw.create),
        "prefix": raw.prefix,
        "tables": tuple(raw.tables or ()),
        "neighbours": tuple(raw.neighbours or ()),
    }


def _application(
    raw: RawTenants, table: tuple[str | int, ...], origin: Origin
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
        source=_source_name(raw, table, origin),
        functions=raw.functions or "",
        extensions=tuple(_extension(one, origin) for one in raw.extensions or ()),
        folder=str(origin.base),
    )


def _extension(text: str, origin: Origin) -> str:
    """A name without a folder is left to the system's loader, unless such a file is there."""
    path = origin.path_of(text)
    return str(path) if "/" in text or path.exists() else text


def _require_names(raw: RawTenants, table: tuple[str | int, ...], origin: Origin) -> None:
    """Raises ConfigError for prefixes and patterns that no table's name can fit."""
    words = "may hold only letters, digits, _ and $"
    if raw.prefix and not _PREFIX.fullmatch(raw.prefix):
        origin.refuse((*table, "prefix"), words)
    if raw.prefix and raw.sqlite is not None:
        origin.refuse(
            (*table, "prefix"),
            "is for databases of a server; a SQLite file is one tenant",
            hint='Leave it out, or write prefix = "" to have {prefix} stand for nothing.',
        )
    if not all(map(_PREFIX.fullmatch, raw.neighbours or ())):
        origin.refuse((*table, "neighbours"), words, hint='Write neighbours = ["wp_shop_"].')
    if not all(map(_PATTERN.fullmatch, raw.tables or ())):
        origin.refuse(
            (*table, "tables"),
            f"{words}, and * and ? in patterns",
            hint='Write tables = ["shop_*"].',
        )
    for key in ("tables", "neighbours"):
        if getattr(raw, key) and not (raw.prefix or raw.prefixes or raw.prefixes_query):
            origin.refuse(
                (*table, key),
                "says whose the tables beside a prefix are, and these tenants have no prefix",
                hint="Leave it out: without a prefix a whole database is the tenant's.",
            )


def _source_name(raw: RawTenants, table: tuple[str | int, ...], origin: Origin) -> str:
    roots = [(*origin.root, "env", origin.env)] if origin.env else []
    lines = (find_line(origin.text, (*root, *table)) for root in (*roots, origin.root))
    line = next((line for line in lines if line), None)
    return f"{key_path(table)} ({origin.file.name}{f':{line}' if line else ''})"


def _sqlite(
    raw: RawTenants, table: tuple[str | int, ...], origin: Origin, common: dict[str, Any]
) -> TenantSource:
    if not raw.sqlite:
        origin.refuse((*table, "sqlite"), "names no file", hint='Write sqlite = "data/*.db".')
    if raw.sqlite.startswith("sqlite:"):
        origin.refuse((*table, "sqlite"), "is a URL", hint="Write a path or a glob: data/*.db.")
    path = Path(raw.sqlite).expanduser()
    pattern = str(path) if path.is_absolute() else str(Path(glob.escape(str(origin.base))) / path)
    return TenantSource(kind="sqlite", glob=pattern, **common)


def _query(
    raw: RawTenants, table: tuple[str | int, ...], origin: Origin, common: dict[str, Any]
) -> TenantSource:
    if common["url"] is None:
        origin.refuse((*table, "query"), "has no url", hint="Add url, the database to ask.")
    if not (raw.query or "").strip():
        origin.refuse((*table, "query"), "is empty", hint="Write SELECT name, url FROM …")
    return TenantSource(kind="query", query=raw.query, **common)


def _mysql(
    raw: RawTenants,
    url: MysqlUrl,
    table: tuple[str | int, ...],
    origin: Origin,
    common: dict[str, Any],
) -> TenantSource:
    ways = [key for key in ("databases", "prefixes", "prefixes_query") if getattr(raw, key)]
    if len(ways) > 1:
        origin.refuse((*table, ways[1]), f"and {ways[0]} are both set", hint="Keep one.")
    if raw.prefix is not None and ways and ways != ["databases"]:
        origin.refuse((*table, "prefix"), f"and {ways[0]} are both set", hint="Keep one.")
    if not ways or ways == ["databases"]:
        return _databases(raw, url, table, origin, common)
    if url.database is None:
        origin.refuse(
            (*table, "mysql"),
            "names no database for the prefixes",
            hint="Write mysql://user@host:3306/DATABASE.",
        )
    for prefix in raw.prefixes or ():
        if not _PREFIX.fullmatch(prefix):
            origin.refuse((*table, "prefixes"), "may hold only letters, digits, _ and $")
    kind: Literal["prefixes"] = "prefixes"
    return TenantSource(
        kind=kind,
        prefixes=tuple(raw.prefixes or ()),
        prefixes_query=raw.prefixes_query,
        **common,
    )


def _databases(
    raw: RawTenants,
    url: MysqlUrl,
    table: tuple[str | int, ...],
    origin: Origin,
    common: dict[str, Any],
) -> TenantSource:
    """A pattern, a list, or the one database of the URL."""
    if raw.databases and url.database is not None:
        origin.refuse(
            (*table, "databases"), "is set, and mysql names a database too", hint="Keep one."
        )
    if not raw.databases and url.database is None:
        origin.refuse(
            (*table, "mysql"),
            "says not which databases",
            hint='Add databases = "tenant_%", or prefixes, or name one database in the URL.',
        )
    listed = raw.databases if isinstance(raw.databases, list) else None
    single = [url.database] if url.database is not None else []
    return TenantSource(
        kind="databases",
        pattern=raw.databases if isinstance(raw.databases, str) else None,
        databases=tuple(listed if listed is not None else single),
        **common,
    )
