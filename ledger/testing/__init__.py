"""Tests of your own migrations, on throw-away tenants: see docs/reference/testing.md.

pytest finds the fixtures by itself (`ledger_tenant`, `sqlite_tenant`,
`mysql_tenant`); `MigrationTests` is a ready test. Invariant: nothing here
touches a database that it did not make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ledger.testing.ready import MigrationTests as MigrationTests
    from ledger.testing.tenant import Tenant as Tenant
    from ledger.testing.walk import Walked as Walked

__all__ = ["MigrationTests", "Tenant", "Walked"]
_HOMES = {"MigrationTests": "ready", "Tenant": "tenant", "Walked": "walk"}


def __getattr__(name: str) -> Any:
    """Load on first use: pytest imports this package in every project that has `ledger` installed."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"ledger.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ledger.testing' has no attribute {name!r}")
