"""Folders: whether something is in one, and making its entries durable, which no sync of the files does."""

from __future__ import annotations

import os
from pathlib import Path


def nothing_at(path: str | Path) -> bool:
    """Whether nothing is there. False where the account may not see it: opening it names the rights."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def sync_folder(folder: str | Path) -> None:
    """Make a folder's entries durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
