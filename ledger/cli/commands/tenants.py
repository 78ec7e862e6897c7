"""`ledger tenants`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.cli.options import Work, all_or_chosen, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("tenants")
@all_or_chosen
def command(settings: Settings, **request: Any) -> Work:
    """List the tenants that the configuration finds, and where each was found."""
    from ledger.cli import lists, shown

    async def work(ledger: Ledger) -> int:
        code = lists.tenants(settings, await ledger.tenants(**request))
        return shown.unanswered(settings, ledger, code)

    return work
