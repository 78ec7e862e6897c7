"""Write the next migration of a set."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import anyio.to_thread

from ledger.dialects.steps import DialectName
from ledger.errors import ConfigError, UsageError
from ledger.folder.files import list_folder
from ledger.scripts.template import next_version, snake_case, template
from ledger.scripts.version import is_migration_file, parse_file_name, version_key


async def write_new(
    folder: Path, name: str, *, dialect: DialectName, now: datetime, version: str | None = None
) -> Path:
    """Write `{version}_{name}.sql` with all sections into `folder`, and return its path.

    The folder is made if it is missing. `version` defaults to the next one in the
    manner of the set; `now` is used for timestamps. Never overwrites: raises
    UsageError if the version or the file is there, ConfigError if it cannot be written.
    """
    return await anyio.to_thread.run_sync(_write_new, folder, name, dialect, now, version)


def _write_new(
    folder: Path, name: str, dialect: DialectName, now: datetime, version: str | None
) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in list_folder(folder) if is_migration_file(path.name)]
        there = {parse_file_name(name).key: name for name in names}
        if version is None:
            version = next_version([parse_file_name(name).version for name in names], now=now)
        key = version_key(version)
        if key is None:
            raise UsageError(
                f"{version!r} is not a version",
                hint="Write a number, as 003, 2.1.0 or 20261121103000.",
            )
        if key in there:
            raise UsageError(
                f"version {version} is there already: {folder / there[key]}",
                hint="Leave the version out to get the next one.",
            )
        slug = snake_case(name)
        path = folder / f"{version}_{slug}.sql"
        with path.open("x", encoding="utf-8") as file:
            file.write(template(slug, dialect))
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} is there already", hint="Choose another name."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}",
            file=str(folder),
            hint="`migrations` must name a folder that this user can write.",
        ) from error
    return path
