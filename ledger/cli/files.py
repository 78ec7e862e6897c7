"""Where `ledger new` writes: which set, in which dialect."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from ledger.config import Config
from ledger.dialects.steps import DialectName
from ledger.engines.kinds import DEFAULT
from ledger.errors import UsageError
from ledger.folder import find_sets, write_new


async def new_migration(config: Config, name: str, set_name: str | None) -> Path:
    """Write the next migration of the named set, or of the only one.

    Raises UsageError if it is not clear which set is meant.
    """
    folders = _folders(config)
    sets: dict[str, tuple[Path, DialectName]] = {}
    for folder, dialect in folders.items():
        if folder.exists():
            found = await find_sets(folder)
            sets |= {file: (path, dialect) for file, path in found.items()}
    path, dialect = _choose(folders, sets, set_name)
    return await write_new(path, name, dialect=dialect, now=datetime.now(UTC))


def _choose(
    folders: dict[Path, DialectName],
    sets: dict[str, tuple[Path, DialectName]],
    set_name: str | None,
) -> tuple[Path, DialectName]:
    if set_name is None:
        if len(sets) == 1:
            return next(iter(sets.values()))
        if not sets:
            return next(iter(folders.items()))
        raise UsageError(
            f"there are several sets: {', '.join(sorted(sets))}", hint="Name one with --set."
        )
    if set_name in sets:
        return sets[set_name]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", set_name):
        raise UsageError(
            f"{set_name!r} cannot be a set's name", hint="Use letters, digits, _, - and dots."
        )
    folder, dialect = next(iter(folders.items()))
    if sets and any(path == folder for path, _ in sets.values()):
        raise UsageError(
            f"there is no set {set_name!r}, and {folder} holds migrations itself",
            hint=f"The sets are {', '.join(sorted(sets))}.",
        )
    return folder / set_name, dialect


def _folders(config: Config) -> dict[Path, DialectName]:
    """The folders that migrations are in, each with the dialect of the first tenants that follow it."""
    folders: dict[Path, DialectName] = {}
    for folder, dialect in config.followed():
        folders.setdefault(folder, dialect)
    for folder in config.migrations:
        folders.setdefault(folder, DEFAULT)
    return folders
