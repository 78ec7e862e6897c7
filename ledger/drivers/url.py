"""Database URLs, and secrets that cannot be printed by accident.

Invariant: `str` and `repr` of anything here never show a password.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from ledger.dialects.steps import DialectName
from ledger.errors import ConfigError


class Secret:
    """A password. Only `reveal` shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The password itself, for the driver's connect call only."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class SecretSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a password comes from; read anew when the server refuses the old one (once).

    At most one of the first four is set; with none there is no password. `kept` is the
    `Secrets` of the `Ledger` that keeps what the command answers.
    """

    value: Secret | None = None
    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None
    kept: object = None


class SqliteUrl(msgspec.Struct, frozen=True, kw_only=True):
    """`sqlite:///relative.db`, `sqlite:////absolute.db` or `sqlite://:memory:`."""

    engine: ClassVar[DialectName] = "sqlite"
    server: ClassVar[str] = ""
    user: ClassVar[str] = ""

    path: str

    @property
    def file(self) -> str:
        """The database's file; empty for one in memory."""
        return "" if self.path == ":memory:" else self.path

    @property
    def place(self) -> tuple[object, ...]:
        """What is equal for two URLs of one database: the file behind all its links."""
        try:
            # os.stat and no Path: this is asked for every tenant of every command.
            found = os.stat(self.path)  # noqa: PTH116
        except (OSError, ValueError):
            return self.engine, os.path.abspath(self.path)  # noqa: PTH100
        return self.engine, found.st_dev, found.st_ino

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"


class MysqlUrl(msgspec.Struct, frozen=True, kw_only=True):
    """`mysql://user@host:port/database?unix_socket=…&ssl_ca=…` (`mariadb://` is the same).

    `ssl_cert` and `ssl_key` are the files (PEM) of the certificate that the client shows, and
    of its key, which may stand in the first one too.
    """

    engine: ClassVar[DialectName] = "mysql"
    file: ClassVar[str] = ""

    host: str
    port: int = 3306
    user: str = ""
    database: str | None = None
    unix_socket: str | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl: bool = False

    @property
    def server(self) -> str:
        """`host:port` or the socket: what a limit per server counts by."""
        return self.unix_socket or f"{self.host}:{self.port}"

    @property
    def place(self) -> tuple[object, ...]:
        """What is equal for two URLs of one database: server and name."""
        return self.engine, self.server.replace("localhost:", "127.0.0.1:", 1), self.database

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        name = f"/{self.database}" if self.database else ""
        return f"mysql://{user}{self.host}:{self.port}{name}"


Url = SqliteUrl | MysqlUrl
"""A database of any kind. All have `engine`, `server` (empty for a file), `user`, `file` (empty
for a server) and `place`."""

IN_MEMORY: Final[Url] = SqliteUrl(path=":memory:")
"""A ledger that ends with the process."""

DEFAULT_LEDGER: Final = "sqlite:///ledger.db"
"""The ledger's URL where the configuration names none."""

URL_FORMS: Final = "sqlite:///FILE or mysql://user@host:3306/DATABASE"

NOWHERE: Final[Url] = SqliteUrl(path="")
"""The place of a tenant that is known from the ledger alone."""


def parse_url(text: str, *, source: str, base: Path | None = None) -> tuple[Url, Secret | None]:
    """Read a database URL; the password, if it holds one, comes back apart.

    `source` (file and key) is named in errors; a relative SQLite path is taken
    from `base`. Raises ConfigError, which never repeats the URL.
    """
    try:
        parts = urlsplit(text)
        # `sqlite://:memory:` has no port, whatever it looks like.
        port = parts.port if parts.scheme != "sqlite" else None
    except ValueError:
        # The parser's own words repeat a part of the password if it holds a / or #.
        raise ConfigError(
            f"{source} is not a valid URL",
            hint=f"{_URL_HINT} In a password, write %2F for /, %23 for # and %40 for @.",
        ) from None
    if parts.scheme == "sqlite":
        return _sqlite(text, source=source, base=base), None
    if parts.scheme in ("mysql", "mariadb"):
        options = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise ConfigError(
                f"{source} has an unknown URL option {unknown[0]!r}",
                hint=f"The options are {', '.join(_OPTIONS)}.",
            )
        if "ssl_key" in options and "ssl_cert" not in options:
            raise ConfigError(
                f"{source} has the URL option ssl_key without ssl_cert",
                hint="Name the certificate's file as ssl_cert too.",
            )
        url = MysqlUrl(
            host=parts.hostname or "127.0.0.1",
            port=port or 3306,
            user=unquote(parts.username or ""),
            database=unquote(parts.path.lstrip("/")) or None,
            unix_socket=options.get("unix_socket"),
            ssl_ca=options.get("ssl_ca"),
            ssl_cert=options.get("ssl_cert"),
            ssl_key=options.get("ssl_key"),
            ssl=options.get("ssl", "").lower() in ("1", "true", "on")
            or bool(options.keys() & {"ssl_ca", "ssl_cert"}),
        )
        password = parts.password
        return url, Secret(unquote(password)) if password else None
    raise ConfigError(
        f"{source} is not a sqlite: or mysql: URL (it starts with {parts.scheme or text.split(':')[0]!r})",
        hint=_URL_HINT,
    )


_OPTIONS = ("unix_socket", "ssl", "ssl_ca", "ssl_cert", "ssl_key")
_URL_HINT = "Write sqlite:///path/to/file.db or mysql://user@host:3306/database."


def _sqlite(text: str, *, source: str, base: Path | None) -> Url:
    rest = text.removeprefix("sqlite:")
    if not rest.startswith("//"):
        raise ConfigError(f"{source} is not a valid URL", hint=_URL_HINT)
    rest = rest[2:]
    if rest in (":memory:", "/:memory:"):
        return IN_MEMORY
    path = unquote(rest.removeprefix("/"))
    if not path or "\0" in path:
        raise ConfigError(f"{source} names no file", hint=_URL_HINT)
    if base is not None and not Path(path).is_absolute():
        path = str(base / path)
    return SqliteUrl(path=path)


def file_uri(path: str | Path, *, mode: str) -> str:
    """A `file:` URI with `mode` (ro, rw, rwc); every byte of the path is safe in it.

    Two leading slashes would name a host (RFC 8089), so that only one is kept.
    """
    name = os.fsencode(path)
    if name.startswith(b"//"):
        name = b"/" + name.lstrip(b"/")
    return f"file:{quote(name)}?mode={mode}"
