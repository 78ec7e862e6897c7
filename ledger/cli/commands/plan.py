"""`ledger plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import Settings, chosen_or_all, ledger_command, tenant_options

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("plan")
@tenant_options
@click.option("--to", metavar="VERSION", help="Plan up to this migration.")
@click.option("--out-of-order", is_flag=True, help="Plan versions that come late, too.")
@click.option("--estimate", is_flag=True, help="Say how long it will take, by earlier runs.")
@click.option(
    "--parallel", type=click.IntRange(min=1), metavar="N", help="Estimate so many at once."
)
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    to: str | None,
    out_of_order: bool,
    estimate: bool,
    parallel: int | None,
) -> None:
    """Show what migrate would do, for all tenants unless some are chosen. Nothing is touched."""
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        plan = await ledger.plan(
            selection,
            to=to,
            out_of_order=out_of_order or None,
            estimate=estimate,
            parallel=parallel,
        )
        return shown.plan(settings, plan)

    run(settings, work)
