"""Tenants' databases. A third database is one module and one line in `_ENGINES`.

Invariant: importing this package imports no driver; `engine_for` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from ledger.engines.base import Engine

_ENGINES: Final = {
    "sqlite": ("ledger.engines.sqlite.engine", "SqliteEngine"),
    "mysql": ("ledger.engines.mysql", "MysqlEngine"),
}


def engine_for(name: str, *, connect_seconds: float = 10.0, lock_seconds: float = 30.0) -> Engine:
    """A new engine for `Target.engine`; the caller closes it (`aclose`).

    `connect_seconds` bounds opening a tenant, `lock_seconds` the wait for other
    connections' locks. Raises KeyError for a name that no configuration can hold.
    """
    module, attribute = _ENGINES[name]
    return cast(
        Engine,
        getattr(import_module(module), attribute)(
            connect_seconds=connect_seconds, lock_seconds=lock_seconds
        ),
    )
