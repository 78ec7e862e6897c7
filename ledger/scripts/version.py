"""Versions, and the names of migration files.

Invariant: two versions with one key are one version (`001` is `1`, `2.0` is `2.0.0`);
a key orders versions part by part as numbers.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ledger.errors import ScriptError
from ledger.scripts.directions import right_name

MAX_VERSION_CHARACTERS: Final = 64

_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_FILE_NAME: Final = re.compile(
    r"(?P<version>[0-9]+(?:\.[0-9]+)*)_(?P<name>[a-z0-9]+(?:_[a-z0-9]+)*)\.(?P<kind>sql|py)"
)


class FileName(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a migration file's name. `version` is as written, `kind` is `sql` or `py`."""

    version: str
    name: str
    kind: str
    key: tuple[int, ...]


def version_key(version: str) -> tuple[int, ...] | None:
    """The ordering key of a version, or None if the text is not one.

    Trailing zero parts do not count, so that `2.0` and `2.0.0` are one version.
    """
    if len(version) > MAX_VERSION_CHARACTERS or not _VERSION.fullmatch(version):
        return None
    parts = [int(part) for part in version.split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def is_migration_file(file_name: str) -> bool:
    """Whether the name has the form of a migration (`001_initial_schema.sql`), sidecars apart."""
    return _FILE_NAME.fullmatch(file_name) is not None


def parse_file_name(file_name: str, *, file: str | None = None) -> FileName:
    """Read `{version}_{snake_case_name}.sql` or `.py`.

    `file` is what an error names (default: the name itself). Raises ScriptError,
    which shows the right form of this very name.
    """
    match = _FILE_NAME.fullmatch(file_name)
    key = version_key(match["version"]) if match else None
    if match is None or key is None:
        raise ScriptError(
            f"{file_name!r} is not the name of a migration",
            file=file or file_name,
            hint=_hint(file_name),
        )
    return FileName(version=match["version"], name=match["name"], kind=match["kind"], key=key)


def _hint(file_name: str) -> str:
    right = right_name(file_name)
    form = (
        "It undoes a migration: name it after that one"
        if right.undoes
        else "Name it {version}_{snake_case_name}.sql"
    )
    return f"{form}, as in {right.text}."
