"""Files of a migrations folder, read within bounds.

Invariant: nothing outside the folder is read, whatever links are in it; nothing
is read that is larger than its bound.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from ledger.errors import ConfigError, ScriptError

MAX_FILE_BYTES: Final = 256 * 1024 * 1024


def list_folder(folder: Path) -> list[Path]:
    """The folder's entries by name. Raises ConfigError if there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no folder {folder}",
            file=str(folder),
            hint=f"Set `migrations` in the configuration, or type: mkdir -p {folder}",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} cannot be read: {error.strerror}",
            file=str(folder),
            hint="`migrations` must name a folder that this user can read.",
        ) from error


def require_inside(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of `folder`. Raises ScriptError."""
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise ScriptError(
            "is a link that leads out of the folder of migrations",
            file=str(path),
            hint="Put the file itself into the folder.",
        )


def read_bounded(path: Path, folder: Path, *, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file inside `folder`. Raises ScriptError, naming it."""
    require_inside(path, folder)
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ScriptError(
                    "is not a regular file", file=str(path), hint="Put a plain file there."
                )
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise ScriptError(
            f"cannot be read: {error.strerror}",
            file=str(path),
            hint="Make it readable for this user.",
        ) from error
    if len(data) > limit_bytes:
        raise ScriptError(
            f"is larger than {limit_bytes} bytes",
            file=str(path),
            hint="Split it into several migrations.",
        )
    return data
