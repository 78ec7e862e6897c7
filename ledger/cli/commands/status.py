"""`ledger status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, all_or_chosen, ledger_command
from ledger.cli.settings import Settings
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("status")
@all_or_chosen
@click.option("--at", type=TIME, help="The fleet as it was then (UTC, or 2h, 3d ago).")
@click.option("--check", is_flag=True, help="End with 4 if a tenant is not current.")
def command(settings: Settings, *, check: bool, **request: Any) -> Work:
    """Show every tenant's version and state, as the ledger knows them.

    Ends with 3 if a source does not say which tenants it has.
    """
    from ledger.cli import lists, shown

    async def work(ledger: Ledger) -> int:
        status = await ledger.status(**request)
        code = lists.status(settings, status, check=check)
        shown.gone(settings, status.gone)
        return code or (shown.SOME_FAILED if ledger.lost else 0)

    return work
