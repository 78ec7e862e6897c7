"""Migrations for whole fleets of tenant databases, recorded as append-only events.

The public names are those of `ledger._public`. They load on first use, so that importing
the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ledger._version import __version__ as __version__

if TYPE_CHECKING:
    from ledger._public import *  # noqa: F403 - its __all__ is the list


def __getattr__(name: str) -> Any:
    # Only classes are public: a submodule's name, which is asked for first, must not load them all.
    if name[:1].isupper():
        public = import_module("ledger._public")
        if name in public.__all__:
            return getattr(public, name)
    raise AttributeError(f"module 'ledger' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *import_module("ledger._public").__all__]
