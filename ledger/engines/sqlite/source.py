"""SQLite's `[[tenants]]`: a path, or a pattern that finds files."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any, Final

from ledger.drivers.url import SqliteUrl, Url
from ledger.engines.source import ESCAPED, Named, RawTenants, Refuse, TenantSource
from ledger.errors import UnreachableError

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


def find(source: TenantSource, *, alone: bool) -> list[Named]:
    """The files of a source; see Engine.tenants."""
    return [
        Named(Path(path).stem, Path(path).name, SqliteUrl(path=path), source.prefix)
        for path in _files(source, alone=alone)
    ]


def _files(source: TenantSource, *, alone: bool) -> list[str]:
    """The databases a glob finds, without the files that SQLite keeps beside them; a path
    without wildcards stands for itself, there or not.

    Raises UnreachableError for a folder that is not there or cannot be read: a disk that is
    not mounted is no fleet without tenants. (If `alone`, a folder that is not there yet is.)
    """
    if not source.has_wildcards:
        return [ESCAPED.sub(r"\1", source.glob)]
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
    paths = glob.glob(source.glob, recursive=True)  # noqa: PTH207 - the pattern is absolute
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
