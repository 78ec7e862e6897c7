"""Guards that a forked command can be made to run without, to see a test find what they prevent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final


def _replace(module: str, **names: object) -> None:
    importlib.import_module(module).__dict__.update(names)


def _settle() -> None:
    """On a server: a step that was announced before a crash is taken not to have landed."""
    settle = importlib.import_module("ledger.engines.mysql.apply.settle")

    async def verdict(*_: object) -> Any:
        return settle.Verdict(landed=False)

    _replace("ledger.engines.mysql.apply.settle", verdict=verdict)


def _entry() -> None:
    """In a SQLite tenant: nobody asks whether its marker has the migration already."""
    for name in ("transaction", "stepwise"):
        _replace(f"ledger.engines.sqlite.apply.{name}", own_entry=lambda *_: None)


def _fence() -> None:
    """No tenant asks for the epoch: not when the fence is set, and not when an entry is written."""
    for name in ("apply.transaction", "apply.stepwise", "session"):
        _replace(f"ledger.engines.sqlite.{name}", admit=lambda *_, **__: None)
    _replace("ledger.engines.mysql.lock.fence", require_epoch=lambda *_, **__: None)
    marker = importlib.import_module("ledger.engines.mysql.lock.marker")
    asks = {
        "RAISE_FENCE": ("AND epoch <= %s", "AND %s IS NOT NULL"),
        "PUT_ENTRY": ("AND fence.epoch = %s", "AND %s IS NOT NULL"),
    }
    for statement, (asked, not_asked) in asks.items():
        sql = getattr(marker, statement)
        assert asked in sql
        _replace(marker.__name__, **{statement: sql.replace(asked, not_asked)})


def _locked() -> None:
    """On a server that has no GET_LOCK: many statements go by one intent, as if nobody came between."""
    opened = importlib.import_module("ledger.engines.mysql.opened")
    opened.Opened.locked = property(lambda _: True)


_BREAK: Final[Mapping[str, Callable[[], None]]] = {
    "settle": _settle,
    "entry": _entry,
    "fence": _fence,
    "locked": _locked,
}
GUARDS: Final = tuple(_BREAK)


def without(guard: str) -> None:
    """From now on this process runs without that guard."""
    _BREAK[guard]()
