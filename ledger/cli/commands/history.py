"""`ledger history`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import (
    Settings,
    ledger_command,
    one_tenant,
    one_tenant_option,
)
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("history")
@one_tenant_option
@click.option("--since", type=TIME, help="From then on (UTC, or 2h, 3d ago).")
@click.option("--until", type=TIME, help="Before then.")
@click.option("--type", "type_", metavar="EVENT", help="Only events of this type.")
@click.option("--run", "run_id", metavar="ID", help="Only this run's events.")
@click.option("--actor", metavar="ACTOR", help="Only this actor's; * and ? match.")
@click.option(
    "--migration", metavar="VERSION", help="Only this migration's (VERSION or SET/VERSION)."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
def command(
    settings: Settings,
    *,
    tenant: str | None,
    named: str | None,
    since: str | None,
    until: str | None,
    type_: str | None,
    run_id: str | None,
    actor: str | None,
    migration: str | None,
    limit: int | None,
) -> None:
    """Show the recorded events in seq order, of one TENANT or of all."""
    chosen = one_tenant(tenant, named)
    from ledger.cli import lists
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        events = ledger.history(
            chosen,
            since=since,
            until=until,
            type=type_,
            run=run_id,
            actor=actor,
            migration=migration,
            limit=limit,
        )
        return await lists.history(settings, events)

    run(settings, work)
