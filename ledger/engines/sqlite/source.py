"""SQLite's `[[tenants]]`: a path, or a pattern that finds files."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from ledger.drivers.url import SqliteUrl, Url
from ledger.engines.source import ESCAPED, Named, RawTenants, Refuse, TenantSource
from ledger.errors import UnreachableError

_AFTER_WILDCARDS: Final = re.compile(r".*[*?\[\]]")
_BESIDE: Final = re.compile(r"-(?:wal|shm|journal|mj[0-9A-F]+)\Z")
"""https://www.sqlite.org/tempfiles.html: write-ahead log and its index, journal, super-journal."""


def read(raw: RawTenants, _: Url | None, base: Path, refuse: Refuse) -> dict[str, Any]:
    """See `engines.source.Read`."""
    if raw.prefix:
        refuse(
            "prefix",
            "is for databases of a server; a SQLite file is one tenant",
            hint='Leave it out, or write prefix = "" to have {prefix} stand for nothing.',
        )
    if not raw.sqlite:
        refuse("sqlite", "names no file", hint='Write sqlite = "data/*.db".')
    if raw.sqlite.startswith("sqlite:"):
        refuse("sqlite", "is a URL", hint="Write a path or a glob: data/*.db.")
    path = Path(raw.sqlite).expanduser()
    pattern = str(path) if path.is_absolute() else str(Path(glob.escape(str(base))) / path)
    return {"kind": "files", "glob": pattern}


def find(source: TenantSource, *, alone: bool, only: Collection[str] | None = None) -> list[Named]:
    """The files of a source; see Engine.tenants."""
    paths = _files(source, alone=alone, only=only)
    if only is not None and any(map(_has_two_names, paths)):
        # Another tenant may be the same file: all have to be compared.
        paths = _files(source, alone=alone)
    return [
        Named(Path(path).stem, Path(path).name, SqliteUrl(path=path), source.prefix)
        for path in paths
    ]


def _narrowed(pattern: str, only: Collection[str]) -> list[str]:
    """Patterns for the files with these stems alone, where the pattern says what follows a stem."""
    folder, last = os.path.split(pattern)
    suffix = Path("x" + _AFTER_WILDCARDS.sub("", last)).suffix
    if not suffix:
        return [pattern]
    names = [stem + suffix for stem in only]
    return [
        str(Path(folder, glob.escape(name)))
        for name in names
        if "/" not in name and fnmatch.fnmatchcase(name, last)
    ]


def _has_two_names(path: str) -> bool:
    try:
        return Path(path).is_symlink() or Path(path).stat().st_nlink > 1
    except OSError:
        return False


def _files(source: TenantSource, *, alone: bool, only: Collection[str] | None = None) -> list[str]:
    """The databases a glob finds, without the files that SQLite keeps beside them; a path
    without wildcards stands for itself, there or not.

    Raises UnreachableError for a folder that is not there or cannot be read: a disk that is
    not mounted is no fleet without tenants. (If `alone`, a folder that is not there yet is.)
    """
    if not source.has_wildcards:
        path = ESCAPED.sub(r"\1", source.glob)
        return [path] if only is None or Path(path).stem in only else []
    parts = Path(source.glob).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(ESCAPED.sub("", part)))
    folder = Path(*(ESCAPED.sub(r"\1", part) for part in parts[:fixed]))
    try:
        os.scandir(folder).close()
    except OSError as error:
        if alone and isinstance(error, FileNotFoundError):
            return []
        raise UnreachableError(
            f"the folder {folder} cannot be read: {(error.strerror or str(error)).lower()}",
            hint="Check the path, the rights, and that its disk is mounted.",
        ) from error
    patterns = [source.glob] if only is None else _narrowed(source.glob, only)
    paths = {
        path
        for pattern in patterns
        for path in glob.iglob(pattern, recursive=True)  # noqa: PTH207 - the pattern is absolute
        if only is None or Path(path).stem in only
    }
    return sorted(path for path in paths if _may_be_file(path) and not _is_beside(path))


def _may_be_file(path: str) -> bool:
    """Also true where the account may not see what a link leads to: opening the tenant names the rights."""
    try:
        return Path(path).is_file()
    except OSError:
        return True


def _is_beside(path: str) -> bool:
    """Whether the file is SQLite's own, of a database that is there: an empty one, opened as a
    database, would be made one, under the name that SQLite takes for a journal."""
    beside = _BESIDE.search(path)
    return beside is not None and Path(path[: beside.start()]).is_file()
