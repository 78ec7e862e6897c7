"""Finding the configuration file, laying an environment over it, and checking what it says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ledger.config.model import Config
from ledger.config.raw import RawConfig, convert, read_text
from ledger.config.tenants import Origin, folders_of, read_secret, read_tenants, read_variables
from ledger.drivers.trusted import refuse_changed_by_others
from ledger.engines.source import PASSWORD_KEYS, TenantSource
from ledger.errors import ConfigError, UsageError

PLACES: Final = ("ledger.toml", "pyproject.toml")
"""Where a configuration is looked for in the working folder, in this order."""

MOST_LINES: Final = 500
"""Of a file in which a mistake is looked for line by line."""


def in_working_folder(path: str | Path) -> Path:
    """The path; one that is not absolute is below the working folder. Raises UsageError if that is gone."""
    path = Path(path)
    if path.is_absolute():
        return path
    try:
        return Path.cwd() / path
    except OSError as error:
        raise UsageError(
            f"the working folder has been deleted, or may not be read ({error.strerror})",
            hint="Go to a folder that is there (cd), or name the files by their whole paths.",
        ) from error


def find_config(file: str | Path | None = None, *, folder: Path | None = None) -> Path | None:
    """The file to read: `file`, else ledger.toml, else a pyproject.toml with [tool.ledger]; or None.

    Raises ConfigError if `file` is given and is not there, or pyproject.toml cannot be read, and
    UsageError if the working folder is needed and is gone.
    """
    if file is not None:
        path = folder / file if folder is not None else in_working_folder(file)
        try:
            is_file = path.is_file()
        except OSError as error:
            raise ConfigError(
                f"cannot be read: {(error.strerror or str(error)).lower()}",
                hint="Give this account the rights on it and on the folders above it.",
                file=str(file),
            ) from error
        if not is_file:
            raise ConfigError(
                "no such file" if not path.is_dir() else "is a folder, not a configuration file",
                hint="Check the path after --config, or write a configuration with `ledger init`.",
                file=str(file),
            )
        return path
    folder = folder or in_working_folder("")
    if (folder / PLACES[0]).is_file():
        return folder / PLACES[0]
    pyproject = folder / PLACES[1]
    if pyproject.is_file() and "ledger" in _toml(read_text(pyproject), pyproject).get("tool", {}):
        return pyproject
    return None


def load_config(
    file: str | Path | None = None, *, env: str | None = None, folder: Path | None = None
) -> Config:
    """Read and check the configuration.

    `folder` (the working folder by default) is where it is looked for. Raises
    ConfigError, which names the file, the line and the key.
    """
    path = find_config(file, folder=folder)
    if path is None:
        raise ConfigError(
            "no configuration found: looked for ./ledger.toml, and for [tool.ledger] in ./pyproject.toml",
            hint="Type `ledger init` to write one here, `ledger demo` to see it work, or name one with --config FILE.",
        )
    path = path.absolute()
    if "\udc80" <= max(str(path)) <= "\udcff":
        raise ConfigError(
            "the name of its folder is not UTF-8 text, and paths in it could not be recorded",
            hint="Rename the folder.",
            file=str(path),
        )
    text = read_text(path)
    data = _toml(text, path)
    root: tuple[str, ...] = ()
    if path.name == PLACES[1] or (set(data) & {"tool", "project"} and "ledger" not in data):
        data, root = data.get("tool", {}).get("ledger"), ("tool", "ledger")
        if not isinstance(data, dict):
            raise ConfigError("has no [tool.ledger] table", hint="Add one.", file=str(path))
    raw = convert(data, file=str(path), text=text, root=root, shown=())
    for name, overlay in raw.env.items():
        # Checked whether or not it is asked for: a typing error shows today.
        if "env" in overlay:
            raise ConfigError(f"env.{name} cannot hold another env", file=str(path))
        shown = ("env", name)
        convert(overlay, file=str(path), text=text, root=(*root, *shown), shown=shown)
    if env is not None:
        if env not in raw.env:
            raise ConfigError(
                f"no environment {env!r}",
                hint=f"It has {', '.join(sorted(raw.env))}." if raw.env else f"Add [env.{env}].",
                file=str(path),
            )
        merged = _overlay(data, raw.env[env])
        raw = convert(merged, file=str(path), text=text, root=root, shown=())
    return _resolve(raw, Origin(file=path, text=text, root=root, env=env))


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"is not valid TOML: {error}", file=str(path), line=_broken_line(text)
        ) from None


def _broken_line(text: str) -> int | None:
    """Where that begins from which on the text is no TOML: everything before it is. None for a long text."""
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        return None
    for count in range(len(lines) - 1, 0, -1):
        try:
            tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        said = (at for at in range(count, len(lines)) if lines[at].strip()[:1] not in ("", "#"))
        return next(said, count) + 1
    return 1


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: tables merge key by key, everything else is replaced.

    Another place for a password replaces the one below, since at most one may be named.
    """
    merged = dict(below)
    if PASSWORD_KEYS & set(above):
        merged = {key: value for key, value in merged.items() if key not in PASSWORD_KEYS}
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _overlay(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _refuse_dangerous(raw: RawConfig, file: Path) -> None:
    """A file that says what is run, or where passwords go, is its owner's alone. Raises ConfigError."""
    tables = (raw, *raw.tenants)
    for key, why in _DANGEROUS.items():
        if any(getattr(table, key, None) for table in tables):
            refuse_changed_by_others(file, why=f"its {key} {why}")


_DANGEROUS: Final = {
    "password_command": "is run by this account",
    "password_file": "goes to the server that it names",
    "allow_python": "lets Python files run",
    "functions": "is imported and called",
    "extensions": "are loaded",
}


def _resolve(raw: RawConfig, origin: Origin) -> Config:
    if not all(folders_of(raw.migrations)):
        origin.refuse(("migrations",), "names no folder", hint='Write migrations = "migrations".')
    url, secret, warnings = read_secret(raw, "url", raw.url, origin, ())
    assert url is not None  # noqa: S101  (a URL was given, so one comes back)
    tenants: list[TenantSource] = []
    for index, table in enumerate(raw.tenants):
        source, more = read_tenants(table, index, origin)
        tenants.append(source)
        warnings += more
    _refuse_dangerous(raw, origin.file)
    return Config(
        path=origin.file,
        base=origin.base,
        url=url,
        secret=secret,
        migrations=origin.paths(raw.migrations),
        backups=origin.path_of(raw.backups),
        backup=raw.backup,
        parallel=raw.parallel,
        workers=raw.workers,
        variables=read_variables(raw.variables, origin, ("variables",)),
        out_of_order=raw.out_of_order,
        strict=raw.strict,
        allow_python=raw.allow_python,
        lease_seconds=raw.lease_seconds,
        timeouts=raw.timeouts,
        tenants=tuple(tenants),
        env=origin.env,
        warnings=warnings,
    )
