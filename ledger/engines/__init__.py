"""Tenants' databases. A third database is a folder and a line in `kinds.KINDS`.

Invariant: importing this package imports no driver; `engine_for` does.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from ledger.engines.base import Engine
from ledger.engines.batch import Batch
from ledger.engines.kind import imported
from ledger.engines.kinds import KINDS


def engine_for(name: str, *, connect_seconds: float = 10.0, lock_seconds: float = 30.0) -> Engine:
    """A new engine for `Target.engine`; the caller closes it (`aclose`).

    `connect_seconds` bounds opening a tenant, `lock_seconds` the wait for other
    connections' locks. Raises KeyError for a name that no configuration can hold.
    """
    made = imported(KINDS[name].engine)
    return cast(Engine, made(connect_seconds=connect_seconds, lock_seconds=lock_seconds))


@cache
def batch_for(name: str) -> type[Batch] | None:
    """What works on a batch of tenants of `Target.engine`; None if only sessions work on them."""
    batch = KINDS[name].batch
    return cast(type[Batch], imported(batch)) if batch else None
