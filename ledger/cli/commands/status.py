"""`ledger status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import Settings, chosen_or_all, ledger_command, tenant_options
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("status")
@tenant_options
@click.option("--at", type=TIME, help="The fleet as it was then (UTC, or 2h, 3d ago).")
@click.option("--check", is_flag=True, help="End with 4 if a tenant is not current.")
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    at: str | None,
    check: bool,
) -> None:
    """Show every tenant's version and state, as the ledger knows them.

    Ends with 3 if a source does not say which tenants it has.
    """
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import lists, shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        status = await ledger.status(selection, at=at)
        code = lists.status(settings, status, check=check)
        shown.gone(settings, status.gone)
        return code or (shown.SOME_FAILED if ledger.lost else 0)

    run(settings, work)
