"""`ledger plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, all_or_chosen, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("plan")
@all_or_chosen
@click.option("--to", metavar="VERSION", help="Plan up to this migration.")
@click.option("--out-of-order", is_flag=True, help="Plan versions that come late, too.")
@click.option("--estimate", is_flag=True, help="Say how long it will take, by earlier runs.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    metavar="N",
    help="Estimate with at most N tenants at once.",
)
def command(settings: Settings, *, out_of_order: bool, **request: Any) -> Work:
    """Show what migrate would do, for all tenants unless some are chosen. Nothing is touched."""
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        plan = await ledger.plan(**request, out_of_order=out_of_order or None)
        return shown.plan(settings, plan)

    return work
