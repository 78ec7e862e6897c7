"""Migrations for whole fleets of tenant databases, recorded as append-only events.

`from ledger import Ledger` is the way in from Python. Attributes load on first
use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger._version import __version__

if TYPE_CHECKING:
    from ledger.api import Ledger as Ledger

__all__ = ["Ledger", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Ledger":
        from ledger.api import Ledger

        return Ledger
    raise AttributeError(f"module 'ledger' has no attribute {name!r}")
