"""VACUUM INTO, so that it can be repeated after a kill although SQLite refuses a file that is there.

The copy is written beside its target, under a name that this very statement has, synced, and
linked to the target. Invariant: the target is whole, and while the statement may be asked for
again, both names lead to one file: that is how it is known to have landed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from ledger.dialects.sqlite.syntax import SYNTAX
from ledger.dialects.steps import Step, sha256_hex
from ledger.drivers.folders import sync_folder
from ledger.engines.sqlite.folders import sync_file

_URI: Final = "file:"


@lru_cache(maxsize=256)
def _split(sql: str) -> tuple[str, str]:
    """VACUUM … INTO, and the expression after it; both empty for any other statement."""
    for number, (_, end, token) in enumerate(SYNTAX.placed(sql)):
        if number == 0 and token.upper != "VACUUM":
            break
        if token.upper == "INTO":
            return sql[:end], sql[end:].strip().removesuffix(";")
    return "", ""


def writes_file(step: Step) -> bool:
    """Whether the step is a VACUUM INTO."""
    return bool(_split(step.sql)[0])


def vacuum_into(database: sqlite3.Connection, step: Step) -> None:
    """Run it, unless an earlier attempt has. Raises sqlite3.Error."""
    head, expression = _split(step.sql)
    target, options = _target(database, expression)
    if target is None:
        database.execute(step.sql)
        return
    partial = _partial(target, step)
    try:
        if partial.exists() and target.exists() and partial.samefile(target):
            return
        partial.unlink(missing_ok=True)
        if target.exists() and target.stat().st_size:
            database.execute(step.sql)  # SQLite's own refusal.
        name = f"{_URI}{quote(os.fspath(partial))}?{options}" if options else os.fspath(partial)
        database.execute(f"{head} ?", (name,))
        sync_file(partial)
        if target.exists() and not target.stat().st_size:
            target.unlink()  # SQLite takes an empty file as well.
        os.link(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        raise sqlite3.OperationalError(f"{target} cannot be written: {error.strerror}") from error
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def forget_partial(database: sqlite3.Connection, step: Step) -> None:
    """The marker says that the step has landed: the second name is of no use any more."""
    target, _ = _target(database, _split(step.sql)[1])
    if target is not None:
        with suppress(OSError):
            _partial(target, step).unlink()


def _target(database: sqlite3.Connection, expression: str) -> tuple[Path | None, str]:
    """The file that the expression names now, and the options of a URI; None for no name of a file."""
    row = database.execute(f"SELECT {expression}").fetchone()
    value = row[0] if row else None
    if not isinstance(value, str) or not value:
        return None, ""
    if not value.startswith(_URI):
        return Path(value), ""
    path, _, options = value.removeprefix(_URI).partition("#")[0].partition("?")
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]
    return Path(unquote(path)), options


def _partial(target: Path, step: Step) -> Path:
    return target.with_name(f".{sha256_hex(target.name + step.sha256)[:24]}.vacuum")
