"""A set's folder, looked through: migrations, what belongs to them, and what is neither.

Invariant: whatever is in the folder is either understood, or named in an error or a
warning; all wrong names are named at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ledger.errors import ConfigError, ScriptError
from ledger.folder.files import is_folder, list_folder
from ledger.scripts.directions import NamedPair, reverse_files, reverse_folder, right_name
from ledger.scripts.manifest import FILE_NAME
from ledger.scripts.version import is_migration_file, parse_file_name, version_key

_SIDECARS: Final = (".down.sql", ".verify.sql")
_SHOWN: Final = 10
"""Commands that a hint shows; the message names every file."""


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """A set's folder, looked through but not read."""

    folder: Path
    migrations: tuple[Path, ...]
    sidecars: dict[str, Path]
    warnings: tuple[str, ...] = ()


def looks_like_sql(path: Path) -> bool:
    """Whether a file is one of a set, by its name."""
    return is_migration_file(path.name) or path.suffix.lower() == ".sql" or path.name == FILE_NAME


def look_through(folder: Path, *, undoing: set[str | None]) -> Entries:
    """Sort a folder's entries.

    `undoing` are version.json's rollback files, which are not migrations. Raises
    ScriptError for SQL files whose names are not those of migrations, or of what
    belongs to one, and for migrations that undo another by their names.
    """
    migrations: list[Path] = []
    sidecars: dict[str, Path] = {}
    wrong: list[Path] = []
    warnings: list[str] = []
    for path in list_folder(folder):
        if path.name.startswith(".") or path.name in undoing:
            continue
        if is_folder(path):
            if _holds_sql(path) and not any(
                file and path.name in file.split("/") for file in undoing
            ):
                warnings.append(_ignored(path, folder))
        elif path.name.endswith(_SIDECARS):
            sidecars[path.name] = path
        elif is_migration_file(path.name):
            migrations.append(path)
        elif path.suffix.lower() == ".sql":
            wrong.append(path)
        elif path.suffix == ".py" and path.name != "__init__.py":
            warnings.append(f"{path}: ignored, since its name is not that of a migration")
    stems = {path.stem for path in migrations}
    _require_names(folder, wrong, sidecars, stems)
    _require_directions(
        folder,
        reverse_files(migration.stem for migration in migrations if migration.suffix == ".sql"),
    )
    return Entries(
        folder=folder,
        migrations=tuple(migrations),
        sidecars=sidecars,
        warnings=tuple(warnings),
    )


def _holds_sql(folder: Path) -> bool:
    """Whether somebody may take a folder beside migrations for a set."""
    if folder.is_symlink() or folder.name.startswith("_"):
        return False
    try:
        return any(looks_like_sql(path) for path in list_folder(folder))
    except ConfigError:
        return False


def _ignored(path: Path, folder: Path) -> str:
    if reverse_folder(path.name, ()) is not None:
        return (
            f"{path}: ignored; what undoes a migration stands beside it, as NAME.down.sql, or in its"
            " section -- migrate:down"
        )
    return f"{path}: ignored, since {folder} is one set, with files of its own"


def _require_names(
    folder: Path, wrong: Sequence[Path], sidecars: dict[str, Path], stems: set[str]
) -> None:
    renames = {path: _right(path.name, stems) for path in wrong}
    coming = stems | {right.removesuffix(".sql") for right in renames.values()}
    orphans = {
        path: stem
        for name, path in sidecars.items()
        if (stem := name.removesuffix(".sql").rpartition(".")[0]) not in coming
    }
    if len(wrong) == 1 and not orphans:
        parse_file_name(wrong[0].name, file=str(wrong[0]))
    if orphans and not wrong and len(orphans) == 1:
        ((path, stem),) = orphans.items()
        raise ScriptError(
            f"belongs to no migration: there is no {stem}.sql",
            file=str(path),
            hint="Rename it after its migration.",
        )
    if wrong or orphans:
        raise _all_names(folder, renames, orphans)


def _right(name: str, stems: Iterable[str]) -> str:
    """The right form of a wrong name; what undoes a migration is named after the one of its version."""
    right = right_name(name)
    if right.undoes:
        key = version_key(right.text.partition("_")[0])
        same = [stem for stem in stems if version_key(stem.partition("_")[0]) == key]
        if len(same) == 1:
            return f"{same[0]}.down.sql"
    return right.text


def _all_names(folder: Path, renames: dict[Path, str], orphans: dict[Path, str]) -> ScriptError:
    parts = []
    if renames:
        names = ", ".join(repr(path.name) for path in renames)
        parts.append(f"{len(renames)} names are not those of migrations: {names}")
    if orphans:
        names = ", ".join(repr(path.name) for path in orphans)
        parts.append(f"{len(orphans)} files belong to no migration: {names}")
    moves = [shlex.join(["mv", str(path), str(folder / to)]) for path, to in renames.items()]
    more = f" (and {len(moves) - _SHOWN} more)" if len(moves) > _SHOWN else ""
    return ScriptError(
        "; ".join(parts),
        file=str(folder),
        hint=f"Rename them: {'; '.join(moves[:_SHOWN])}{more}"
        if moves
        else "Rename them after their migrations.",
    )


def _require_directions(folder: Path, pairs: Sequence[NamedPair]) -> None:
    """Refuse migrations that undo another one by their names."""
    if not pairs:
        return
    first = pairs[0]
    moves = [
        shlex.join(
            ["mv", str(folder / f"{pair.reverse}.sql"), str(folder / f"{pair.forward}.down.sql")]
        )
        for pair in pairs[:_SHOWN]
    ]
    others = ", ".join(f"{pair.reverse}.sql" for pair in pairs[1:])
    raise ScriptError(
        f"undoes {first.forward}.sql by its name, and would be applied"
        + (f"; so would {others}" if others else ""),
        file=str(folder / f"{first.reverse}.sql"),
        hint=f"Name it after that migration: {'; '.join(moves)}",
    )
