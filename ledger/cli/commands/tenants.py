"""`ledger tenants`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.cli.options import Settings, chosen_or_all, ledger_command, tenant_options

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("tenants")
@tenant_options
def command(settings: Settings, *, all_tenants: bool, tenants: tuple[str, ...]) -> None:
    """List the tenants that the configuration finds, and where each was found."""
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import lists, shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        code = lists.tenants(settings, await ledger.tenants(selection))
        return shown.unanswered(settings, ledger, code)

    run(settings, work)
