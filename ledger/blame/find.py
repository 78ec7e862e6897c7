"""`blame`: a table or a column of one tenant, by whatever of its names was typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ledger.blame.acts import Acts
from ledger.blame.trace import Entry, State, Traced, trace
from ledger.requests import Blame
from ledger.scripts.touching import PREFIX
from ledger.stores.store import Store


class Blamed(msgspec.Struct, frozen=True, kw_only=True):
    """What `brought` a table, or its column, and what changed it since, oldest first.

    `brought` is None where no migration on record has. `state`: whether it is there as far as the
    records say.
    """

    tenant: str
    table: str
    column: str | None
    state: State
    brought: Entry | None
    changes: tuple[Entry, ...]


async def blame(store: Store, request: Blame, variables: Mapping[str, str]) -> Blamed:
    """From the ledger alone; `variables` are what placeholders mean on the tenant."""
    acts = await Acts(store, variables).read(f"tenant/{request.tenant}")
    tables, column = _names(request.name, variables.get("prefix", ""))
    found = Traced(brought=None, changes=(), state="unknown")
    table = tables[0]
    for name in tables:
        traced = trace(acts, name, column)
        if traced.state != "unknown":
            found, table = traced, name
            break
    return Blamed(
        tenant=request.tenant,
        table=table,
        column=column or None,
        state=found.state,
        brought=found.brought,
        changes=found.changes,
    )


def _names(name: str, prefix: str) -> tuple[list[str], str]:
    """The names that the table may have, `{prefix}` for the tenant's prefix, and the column, in small letters."""
    table, _, column = name.partition(".")
    return list(dict.fromkeys(_spelled(_unquoted(table), prefix.lower()))), _unquoted(column)


def _spelled(table: str, prefix: str) -> Iterator[str]:
    yield PREFIX + table.removeprefix(prefix) if prefix and table.startswith(prefix) else table
    yield table
    yield PREFIX + table


def _unquoted(name: str) -> str:
    return name.strip('`"[]').lower()
