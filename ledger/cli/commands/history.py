"""`ledger history`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, ledger_command, one_tenant
from ledger.cli.settings import Settings
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("history")
@partial(one_tenant, required=False)
@click.option("--since", type=TIME, help="From then on (UTC, or 2h, 3d ago).")
@click.option("--until", type=TIME, help="Before then.")
@click.option("--type", metavar="EVENT", help="Only events of this type.")
@click.option("--run", metavar="ID", help="Only this run's events.")
@click.option("--actor", metavar="ACTOR", help="Only this actor's; * and ? match.")
@click.option(
    "--migration", metavar="VERSION", help="Only this migration's (VERSION or SET/VERSION)."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
def command(settings: Settings, **request: Any) -> Work:
    """Show the recorded events in seq order, of one TENANT or of all."""
    from ledger.cli import lists

    async def work(ledger: Ledger) -> int:
        return await lists.history(settings, ledger.history(**request))

    return work
