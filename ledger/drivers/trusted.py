"""Files that decide what this account runs, or where its passwords go: nobody else may change them.

The rule is that of OpenSSH for its own configuration (ssh_config(5), "must not be writable by
others"; `safe_path` in misc.c), with Debian's allowance for a group of one's own.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import Final

from ledger.errors import ConfigError

_ROOT: Final = 0


def refuse_changed_by_others(path: str | Path, *, why: str) -> None:
    """Raise ConfigError, naming what is wrong, unless this account and root alone can change it.

    The file (or folder), and the folder that it lies in, belong to this account or to root, and neither
    others nor a group with other members may write to them; in a folder with the sticky bit
    others can write, but replace nothing. Where a link leads there, the link's folder counts too.
    No folder above may be writable for everybody. What is no regular file, a pipe, is nobody
    else's to change. `why` says what makes the file dangerous.
    """
    real = Path(os.path.realpath(path))
    try:
        found = real.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            return
        _refuse(real, found, why=why, file=str(path))
        for folder in dict.fromkeys((real.parent, Path(os.path.abspath(path)).parent)):  # noqa: PTH100
            _refuse(folder, folder.stat(), why=why, file=str(path))
        for folder in real.parent.parents:
            mode = folder.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise _changeable(folder, mode, why=why, file=str(path))
    except OSError:
        return  # What cannot be looked at cannot be read either, and whoever reads it says so.


def _refuse(place: Path, found: os.stat_result, *, why: str, file: str) -> None:
    mode = found.st_mode
    if found.st_uid not in (_ROOT, os.geteuid()):
        raise ConfigError(
            f"{place} belongs to {_user(found.st_uid)}, who can change it: {why}",
            hint=f"chown {_user(os.geteuid())} {shlex.quote(str(place))}",
            file=None if str(place) == file else file,
        )
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return
    others = mode & stat.S_IWOTH
    if others or (mode & stat.S_IWGRP and not _own_group(found.st_gid)):
        raise _changeable(place, mode, why=why, file=file)


def _changeable(place: Path, mode: int, *, why: str, file: str) -> ConfigError:
    return ConfigError(
        f"{place} can be changed by other users (mode {stat.S_IMODE(mode):o}): {why}",
        hint=f"chmod go-w {shlex.quote(str(place))}",
        file=None if str(place) == file else file,
    )


def _own_group(gid: int) -> bool:
    """Whether the group is this account's primary one, and has no other member."""
    try:
        me = pwd.getpwuid(os.geteuid())
        return gid == me.pw_gid and not set(grp.getgrgid(gid).gr_mem) - {me.pw_name}
    except KeyError:
        return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
