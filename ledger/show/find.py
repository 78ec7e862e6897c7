"""`show`: which of the two is meant, an event or a migration."""

from __future__ import annotations

from ledger.errors import UsageError
from ledger.requests import Show
from ledger.show.event import ShownEvent, show_event
from ledger.show.migration import ShownMigration, show_migration
from ledger.stores.store import Store


async def show(store: Store, request: Show) -> ShownEvent | ShownMigration:
    """What the ledger keeps of it. Raises UsageError for what it has not."""
    what = request.what
    if isinstance(what, int):
        return await show_event(store, what)
    seq = int(what) if what.isascii() and what.isdecimal() else 0
    if str(seq) != what or request.tenant is not None:
        return await show_migration(store, what, request.tenant)
    if seq <= (await store.head()).seq:
        return await show_event(store, seq)
    try:
        # A version that is a time is a number that no ledger comes to.
        return await show_migration(store, what, None)
    except UsageError:
        return await show_event(store, seq)
