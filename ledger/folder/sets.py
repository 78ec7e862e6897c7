"""Load migration sets: a folder is one set, a folder of folders is one set each.

Invariant: whatever is in the folder is either understood, or named in an error
or a warning; nothing that looks like a migration is passed over.
"""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from ledger.dialects.steps import DialectName
from ledger.drivers.trusted import refuse_changed_by_others
from ledger.errors import ScriptError
from ledger.folder.entries import Entries, look_through, looks_like_sql
from ledger.folder.files import is_folder, list_folder, read_bounded, require_inside
from ledger.folder.reverse import require_forward, require_forward_root
from ledger.scripts.graph import gaps, order_set
from ledger.scripts.manifest import (
    FILE_NAME,
    MAX_MANIFEST_BYTES,
    Entry,
    Settings,
    VersionFile,
    depends_of,
    manifest_of,
    read_version_file,
)
from ledger.scripts.model import Migration, MigrationSet
from ledger.scripts.parse import parse_migration
from ledger.scripts.placeholders import placeholder_names
from ledger.scripts.source import SourceFile, checksum_matches, read_source
from ledger.scripts.version import parse_file_name, version_key


async def load_sets(
    path: Path, dialect: DialectName, *, allow_python: bool = False
) -> dict[str, MigrationSet]:
    """Every set under `path`, by name.

    Raises ConfigError for a folder that cannot be read, ScriptError for a file
    that cannot be used.
    """
    folders = await find_sets(path)
    return {
        name: await load_set(folder, dialect, name=name, allow_python=allow_python)
        for name, folder in folders.items()
    }


async def find_sets(path: Path) -> dict[str, Path]:
    """The folders of the sets under `path`, by name, none of them read. Raises ConfigError."""
    return await anyio.to_thread.run_sync(_find_sets, path)


async def load_set(
    folder: Path, dialect: DialectName, *, name: str | None = None, allow_python: bool = False
) -> MigrationSet:
    """One set, its migrations in the order they apply. Raises as `load_sets` does."""
    return await anyio.to_thread.run_sync(_load_set, folder, dialect, name, allow_python)


def _find_sets(path: Path) -> dict[str, Path]:
    entries = list_folder(path)
    if not any(looks_like_sql(entry) for entry in entries):
        inside = [entry for entry in entries if _is_open(entry)]
        folders = [entry for entry in inside if _is_set(entry, path)]
        require_forward(path, folders, [entry for entry in inside if entry not in folders])
        if folders:
            return {folder.name: folder for folder in folders}
    require_forward_root(path)
    return {path.resolve().name: path}


def _is_open(entry: Path) -> bool:
    return not entry.name.startswith((".", "_")) and is_folder(entry)


def _is_set(entry: Path, root: Path) -> bool:
    require_inside(entry, root)
    return any(looks_like_sql(path) for path in list_folder(entry))


def _load_set(
    folder: Path, dialect: DialectName, name: str | None, allow_python: bool
) -> MigrationSet:
    if allow_python:
        refuse_changed_by_others(folder, why="what lies in it is run as Python (allow_python)")
    name = name or folder.resolve().name
    said = _read_said(folder)
    files = look_through(folder, undoing={entry.rollback_file for entry in said.entries.values()})
    loaded = [
        _load_one(path, files, said, dialect, name, allow_python) for path in files.migrations
    ]
    ordered = order_set(loaded)
    _require_files(said, ordered)
    target = said.settings.target_version
    warnings = [*files.warnings, *said.warnings, *gaps(ordered)]
    for migration in ordered:
        warnings += migration.warnings
    if not ordered:
        warnings.append(f"{folder}: there is no migration here")
    return MigrationSet(
        name=name,
        path=str(folder),
        dialect=dialect,
        migrations=ordered,
        target=_target(str(target), ordered, said) if target is not None else None,
        warnings=tuple(warnings),
        auto_migrate=said.settings.auto_migrate_on_activation,
    )


def _read_said(folder: Path) -> VersionFile:
    path = folder / FILE_NAME
    if not any(entry.name == FILE_NAME for entry in list_folder(folder)):
        return VersionFile(file="", settings=Settings(), entries={})
    data = read_bounded(path, folder, limit_bytes=MAX_MANIFEST_BYTES)
    return read_version_file(data, file=str(path))


def _load_one(
    path: Path,
    files: Entries,
    said: VersionFile,
    dialect: DialectName,
    set_name: str,
    allow_python: bool,
) -> Migration:
    entry = said.entries.get(parse_file_name(path.name).key, Entry())
    _require_same_file(entry, path, said)
    data = read_bounded(path, files.folder)
    source = read_source(data, file=str(path))
    manifest = manifest_of(
        entry, said.settings, bound_checksum=_open_checksum(entry, data, source, said)
    )
    depends = depends_of(entry, set_name=set_name, file=said.file)
    if path.suffix == ".py":
        from ledger.folder.python import load_python

        return load_python(
            source,
            dialect,
            set_name=set_name,
            allow_python=allow_python,
            manifest=manifest,
            depends=depends,
        )
    return parse_migration(
        source,
        dialect,
        set_name=set_name,
        down=_down(path, entry, files, said),
        verify=_sidecar(path, ".verify.sql", files),
        manifest=manifest,
        depends=depends,
    )


def _open_checksum(entry: Entry, data: bytes, source: SourceFile, said: VersionFile) -> str | None:
    """A checksum that can only be that of the bound text, or None if it holds or there is none."""
    if entry.checksum is None or checksum_matches(entry.checksum, data):
        return None
    length = len(entry.checksum.rpartition(":")[2])
    if length in (32, 64) and placeholder_names(source.text):
        return entry.checksum
    raise ScriptError(
        f"the checksum in {said.file} is {entry.checksum}, and the file's is {source.checksum} (sha256)",
        file=source.file,
        hint="Restore the file, or put the right checksum into version.json.",
    )


def _down(path: Path, entry: Entry, files: Entries, said: VersionFile) -> SourceFile | None:
    """The sidecar NAME.down.sql, or version.json's rollback_file."""
    sidecar = _sidecar(path, ".down.sql", files)
    if not entry.rollback_file:
        return sidecar
    named = files.folder / entry.rollback_file
    if sidecar is not None and Path(sidecar.file) != named:
        raise ScriptError(
            f"{sidecar.file} and the rollback_file {entry.rollback_file} both undo {path.name}",
            file=said.file,
            hint="Keep one of the two.",
        )
    if not named.resolve().is_relative_to(files.folder.resolve()) or not named.is_file():
        raise ScriptError(
            f"the rollback_file {entry.rollback_file!r} is not a file in this folder",
            file=said.file,
            hint="Name a file beside the migration.",
        )
    return read_source(read_bounded(named, files.folder), file=str(named))


def _sidecar(path: Path, end: str, files: Entries) -> SourceFile | None:
    found = files.sidecars.get(path.stem + end)
    return read_source(read_bounded(found, files.folder), file=str(found)) if found else None


def _require_same_file(entry: Entry, path: Path, said: VersionFile) -> None:
    if entry.file and entry.file != path.name:
        raise ScriptError(
            f"says that the file is {entry.file!r}, and it is {path.name!r}",
            file=said.file,
            hint="Correct the entry's `file`.",
        )


def _require_files(said: VersionFile, migrations: tuple[Migration, ...]) -> None:
    keys = {migration.key for migration in migrations}
    for key, entry in said.entries.items():
        if key not in keys:
            version = ".".join(map(str, key))
            named = f" ({entry.file})" if entry.file else ""
            raise ScriptError(
                f"names version {version}{named}, and there is no file for it",
                file=said.file,
                hint="Add the file, or remove the entry.",
            )


def _target(version: str, migrations: tuple[Migration, ...], said: VersionFile) -> str:
    """The target version as the migration's file writes it."""
    key = version_key(version)
    found = next((migration for migration in migrations if migration.key == key), None)
    if found is None:
        raise ScriptError(
            f"says target_version {version!r}, and no migration has it",
            file=said.file,
            hint="Name a version of this set.",
        )
    return found.ref.version
