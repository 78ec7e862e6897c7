"""Folders that hold what undoes migrations, or one migration each: never taken for sets.

Invariant: a folder is refused by what is in it and its name, before any file is read; the
error names a command that puts a file where it is understood.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ledger.errors import ConfigError, ScriptError
from ledger.folder.entries import looks_like_sql
from ledger.folder.files import is_folder, list_folder
from ledger.scripts.directions import Reverse, may_be_reverse, reverse_folder, right_name
from ledger.scripts.layouts import FOLDER_PER_MIGRATION

_HOLDS = {"down": "what undoes migrations", "verify": "what checks migrations"}


def require_forward(root: Path, sets: Sequence[Path], beside: Sequence[Path]) -> None:
    """Refuse, among folders found by searching, one of the other direction. Raises ScriptError.

    `sets` are the folders with SQL under `root`, `beside` all of its other folders: one of them
    may hold such folders in its turn.
    """
    inside = [(folder, _with_sql(folder)) for folder in beside]
    for folders in (sets, *(folders for _, folders in inside)):
        names = [folder.name for folder in folders]
        for folder in folders:
            if found := reverse_folder(folder.name, names):
                raise _reverse(folder, found)
    for place, folders in ((root, sets), *inside):
        _require_files(place, folders)


def require_forward_root(root: Path) -> None:
    """Refuse a folder that is named by itself, if the one it belongs to is beside it. Raises ScriptError."""
    place = root.resolve()
    if not may_be_reverse(place.name):
        # Nothing else is looked at: all the tenants may lie in a folder beside it.
        return
    try:
        names = [folder.name for folder in _with_sql(place.parent)]
    except ConfigError:
        return
    found = reverse_folder(place.name, names)
    if found is not None and found.partner and place.name in names:
        raise _reverse(root, found)


def _with_sql(folder: Path) -> list[Path]:
    return [path for path in list_folder(folder) if is_folder(path) and _files(path)]


def _files(folder: Path) -> list[Path]:
    """The files of a set in a folder; none of one that cannot be read."""
    try:
        return [path for path in list_folder(folder) if looks_like_sql(path)]
    except ConfigError:
        return []


def _sql_files(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if path.suffix.lower() == ".sql"]


def _reverse(folder: Path, found: Reverse) -> ScriptError:
    suffix = f".{found.direction}.sql"
    home = folder.parent / found.partner if found.partner else folder.parent
    belongs = f" of {home}" if found.partner else ""
    hint = f"Move each of its files beside its migration, as NAME{suffix}"
    for file in _sql_files(folder)[:1]:
        stem = right_name(file.name).text.removesuffix(".sql").removesuffix(".down")
        hint += ": " + shlex.join(["mv", str(file), str(home / (stem + suffix))])
    return ScriptError(
        f"holds by its name {_HOLDS[found.direction]}{belongs}, and would be applied as a set",
        file=str(folder),
        hint=hint,
    )


def _require_files(root: Path, sets: Sequence[Path]) -> None:
    """Refuse the layout of one folder for each migration, with up.sql and down.sql in it."""
    for folder in sets:
        names = {path.name.lower(): path for path in _sql_files(folder)}
        if not names or not FOLDER_PER_MIGRATION.issuperset(names):
            continue
        stem = right_name(f"{folder.name}.sql").text.removesuffix(".sql")
        moves = [
            shlex.join(["mv", str(path), str(root / (stem + _suffix(name)))])
            for name, path in sorted(names.items(), reverse=True)
        ]
        raise ScriptError(
            f"holds {' and '.join(sorted(names))}: it is one migration, not a set",
            file=str(folder),
            hint=f"Move its files into {root}, named after it: {'; '.join(moves)}",
        )


def _suffix(name: str) -> str:
    return ".down.sql" if name == "down.sql" else ".sql"
