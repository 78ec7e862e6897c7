"""The file's keys as written, and errors that name key, line and what was meant.

Invariant: an error repeats keys and types, never a value: a value may be a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from ledger.config.check import (
    BeyondLimit,
    Problem,
    Unknown,
    WrongChoice,
    WrongKind,
    find_problem,
)
from ledger.config.model import OutOfOrder, Seconds, Timeouts
from ledger.drivers.url import DEFAULT_LEDGER
from ledger.engines.source import Positive, RawTenants, Strings, Variables
from ledger.errors import ConfigError
from ledger.requests import BackupPolicy

WorkerCount = Annotated[int, msgspec.Meta(ge=0)] | Literal["auto"]


class RawConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole file. `env` holds overlays: the same keys, none of them required."""

    url: str = DEFAULT_LEDGER
    migrations: str | Strings = "migrations"
    backups: str = "backups"
    backup: BackupPolicy = "always"
    parallel: Positive = 16
    workers: WorkerCount = "auto"
    variables: Variables = {}
    out_of_order: OutOfOrder = msgspec.field(default="error", name="out-of-order")
    strict: bool = False
    allow_python: bool = False
    lease_seconds: Seconds = 60.0
    password_env: str | None = None
    password_file: str | None = None
    password_command: Strings | None = None
    timeouts: Timeouts = Timeouts()
    tenants: list[RawTenants] = []
    env: dict[str, dict[str, Any]] = {}


CHOICES: Final = {
    "backup": ("always", "each", "auto", "never"),
    "out-of-order": ("error", "apply"),
    "workers": ("auto", "a number"),
}
LIMITS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
KINDS: Final = {
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "float": "a number",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
    "time": "a date or a time",
}


def convert(
    data: Mapping[str, Any], *, file: str, text: str, root: tuple[str, ...], shown: tuple[str, ...]
) -> RawConfig:
    """Check every key and type of a table.

    `root` is the table's whole path in the file (`tool.ledger`, `env.test`),
    `shown` as much of it as an error repeats. Raises ConfigError with the key's
    path, its line where it can be found, and the nearest valid key.
    """
    problem = find_problem(dict(data), RawConfig)
    if problem is not None:
        raise _explain(problem, file, text, root, shown)
    return msgspec.convert(dict(data), RawConfig)


def _explain(
    problem: Problem, file: str, text: str, root: tuple[str, ...], shown: tuple[str, ...]
) -> ConfigError:
    path, hint = problem.path, ""
    if isinstance(problem, Unknown):
        table = key_path((*shown, *path))
        message = f"unknown key {problem.key!r}" + (f" in {table}" if table else "")
        hint = _suggest(problem.key, path)
        path = (*path, problem.key)
    else:
        message = f"{key_path((*shown, *path))} must be {_wanted(problem)}"
    return ConfigError(message, hint=hint, file=file, line=find_line(text, (*root, *path)))


def _wanted(problem: WrongKind | WrongChoice | BeyondLimit) -> str:
    if isinstance(problem, WrongChoice):
        return f"one of {', '.join(CHOICES[str(problem.path[-1])])}"
    if isinstance(problem, BeyondLimit):
        bound = problem.bound
        return f"{LIMITS[problem.limit]} {int(bound) if bound == int(bound) else bound}"
    wanted = tuple(name for name in problem.wanted if name != "null")
    words = " or ".join(KINDS[name] for name in wanted)
    if set(wanted) == {"str", "array"}:
        words = "a string or a list of strings"
    return f"{words}, not {KINDS[problem.got]}"


def _suggest(key: str, table: tuple[str | int, ...]) -> str:
    shapes: dict[str | int, type[msgspec.Struct]] = {"tenants": RawTenants, "timeouts": Timeouts}
    shape = shapes.get(table[0], RawConfig) if table else RawConfig
    valid = [field.encode_name for field in msgspec.structs.fields(shape)]
    if key == "password":
        return "A password does not stand in the file: use password_env, password_file or password_command."
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"The keys are {', '.join(sorted(valid))}."


def key_path(path: tuple[str | int, ...]) -> str:
    """`tenants[2].url`: tables of an array count from 1, as a person counts them."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_HEADER: Final = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"^\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*[=.]")


def find_line(text: str, path: tuple[str | int, ...]) -> int | None:
    """The line where a key or table is written, or None where that is not known.

    A scan for headers and keys, good for files laid out one key a line.
    """
    names = tuple(part for part in path if isinstance(part, str))
    inner = path[-2] if len(path) > 1 else 0
    index = next((part for part in (path[-1], inner) if isinstance(part, int)), 0) if path else 0
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            counts[table] = counts.get(table, -1) + 1
            if table == names and counts[table] == index:
                return number
        elif key := _KEY.match(line):
            in_this = counts.get(table, 0) == index or not isinstance(inner, int)
            if in_this and (*table, key[1]) == names:
                return number
    return None


def read_text(path: Path) -> str:
    """The file as text. Raises ConfigError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {(error.strerror or 'unknown reason').lower()}", file=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 text (byte {error.start})", hint="Save it as UTF-8.", file=str(path)
        ) from error
