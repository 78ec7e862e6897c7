"""One tenant's schema as it is now."""

from __future__ import annotations

from ledger.api.opened import Chosen, Opened
from ledger.errors import UsageError
from ledger.schema import Schema


async def live_schema(ready: Opened, chosen: Chosen, asked: str) -> Schema:
    """Read the one chosen tenant. Raises UsageError if `asked` chose several."""
    if len(chosen.targets) != 1:
        raise UsageError(
            f"{asked!r} names {len(chosen.targets)} tenants, and a schema is of one",
            hint="Name one of them: " + ", ".join(one.name for one in chosen.targets[:5]) + ".",
        )
    target = chosen.targets[0]
    async with ready.engines[target.engine].open(target) as session:
        return await session.schema()
