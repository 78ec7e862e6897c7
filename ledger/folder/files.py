"""Files of a migrations folder, read within bounds.

Invariant: nothing outside the folder is read, whatever links are in it; nothing
is read that is larger than its bound.
"""

from __future__ import annotations

import os
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


def is_folder(path: Path) -> bool:
    """Whether it is a folder, as far as this user may know: what is none is read, and named if it can't be."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def require_inside(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of `folder`. Raises ScriptError."""
    # os.path.realpath also answers for links that lead in a circle.
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.is_relative_to(os.path.realpath(folder)):
        raise ScriptError(
            "is a link that leads out of the folder of migrations",
            file=str(path),
            hint="Put the file itself into the folder.",
        )


def read_bounded(path: Path, folder: Path, *, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file inside `folder`. Raises ScriptError, naming it."""
    try:
        require_inside(path, folder)
        # Without O_NONBLOCK a pipe would be waited for until somebody writes into it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
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
