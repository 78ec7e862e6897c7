"""Functions, collations and extensions that an application gives its SQLite connections.

Invariant: nothing is imported or loaded unless the configuration names it, and what it leaves of
the connection's own settings is put back.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.drivers.trusted import refuse_changed_by_others
from ledger.errors import ConfigError

_LEGACY: Final = -1
"""sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.12 brought."""


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of tenants names. `functions` is MODULE:NAME of a function that is called with each
    connection, `folder` where its module may lie; `extensions` are files to load before it is called.
    """

    source: str
    functions: str = ""
    extensions: tuple[str, ...] = ()
    folder: str = ""


Prepare = Callable[[sqlite3.Connection], object]


@lru_cache(maxsize=64)
def load(application: Application) -> Prepare | None:
    """The function, imported, once the extensions are seen to load; None if only those are named.

    Raises ConfigError, which names the source and what cannot be imported or loaded.
    """
    if application.extensions and not hasattr(sqlite3.Connection, "enable_load_extension"):
        raise ConfigError(
            f"{application.source}: extensions = [{application.extensions[0]!r}]: this Python's sqlite3"
            " is built without loadable extensions",
            hint="Use a Python that is built with them (Debian's is, or"
            " `./configure --enable-loadable-sqlite-extensions`).",
        )
    for path in application.extensions:
        if Path(path).is_relative_to(application.folder):
            refuse_changed_by_others(path, why="it is loaded into this process")
    with closing(sqlite3.connect(":memory:")) as database:
        _extend(database, application)
    if not application.functions:
        return None
    module, _, name = application.functions.partition(":")
    where = f"{application.source}: functions = {application.functions!r}"
    sys.path.insert(0, application.folder)
    try:
        _require_ours(module, application.folder)
        found: Any = importlib.import_module(module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{where}: {module} cannot be imported: {type(error).__name__}: {error}",
            hint=f"It is looked for in {application.folder} and where Python looks. Correct it there.",
        ) from error
    finally:
        sys.path.remove(application.folder)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found) or inspect.iscoroutinefunction(found):
        what = "is not there" if found is None else "is no plain function"
        raise ConfigError(
            f"{where}: {name} {what} in {module}",
            hint=f"Write `def {name}(connection): …` in {module}.",
        )
    prepare: Prepare = found
    return prepare


def _require_ours(module: str, folder: str) -> None:
    """Raises ConfigError for a file beside the configuration that others can change: it is about to run."""
    parts = module.split(".")
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        found = None if name in sys.modules else importlib.util.find_spec(name)
        origin = found.origin if found is not None else None
        if origin is not None and Path(origin).is_relative_to(folder):
            refuse_changed_by_others(origin, why="it is imported (functions)")


def equip(database: sqlite3.Connection, application: Application) -> None:
    """Load the extensions into a connection and call the function with it.

    Raises ConfigError, and sqlite3.Error where the function meets one.
    """
    prepare = load(application)
    _extend(database, application)
    if prepare is None:
        return
    where = f"{application.source}: {application.functions}"
    try:
        prepare(database)
    except sqlite3.Error:
        raise  # It may be the file's own trouble, a lock for one, which the caller knows.
    except Exception as error:
        raise ConfigError(
            f"{where} failed: {type(error).__name__}: {error}", hint="Correct the function."
        ) from error
    if database.in_transaction:
        database.rollback()
        raise ConfigError(
            f"{where} has left a transaction open",
            hint="It may define what the connection needs, and has to commit what it writes.",
        )
    database.isolation_level = None
    database.row_factory = None
    database.text_factory = str
    if hasattr(database, "autocommit"):
        database.autocommit = _LEGACY


def equip_all(database: sqlite3.Connection, applications: Sequence[Application]) -> None:
    """See `equip`."""
    for application in applications:
        equip(database, application)


def _extend(database: sqlite3.Connection, application: Application) -> None:
    for path in application.extensions:
        database.enable_load_extension(True)
        try:
            database.load_extension(path)
        except sqlite3.OperationalError as error:
            raise ConfigError(
                f"{application.source}: the extension {path} cannot be loaded: {error}",
                hint="Name a file that is made for this machine and this SQLite.",
            ) from error
        finally:
            database.enable_load_extension(False)
