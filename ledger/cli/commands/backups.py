"""`ledger backups`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.cli.options import Settings, chosen_or_all, ledger_command, tenant_options

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("backups")
@tenant_options
def command(settings: Settings, *, all_tenants: bool, tenants: tuple[str, ...]) -> None:
    """Show the backups that were taken, with the seq that `restore --backup` takes."""
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import lists
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        return lists.backups(settings, await ledger.backups(selection))

    run(settings, work)
