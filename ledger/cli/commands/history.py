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
@click.option(
    "--type", multiple=True, metavar="EVENT", help="Only events of this type. May be repeated."
)
@click.option("--run", metavar="ID", help="Only this run's events.")
@click.option("--actor", metavar="ACTOR", help="Only this actor's; * and ? match.")
@click.option(
    "--migration", metavar="VERSION", help="Only this migration's (VERSION or SET/VERSION)."
)
@click.option("--step", type=click.IntRange(min=1), metavar="N", help="Only this step's.")
@click.option("--error", metavar="TEXT", help="Only what went wrong with this text in it.")
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Only after this event.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@click.option(
    "--all", "everything", is_flag=True, help="All, where a terminal shows the newest 100."
)
@click.option("--follow", is_flag=True, help="Go on with new events as they come; Ctrl-C ends it.")
def command(settings: Settings, *, type: tuple[str, ...], everything: bool, **request: Any) -> Work:  # noqa: A002
    """Show the recorded events in seq order, of one TENANT or of all."""
    if everything and request["limit"] is not None:
        raise click.UsageError("--all and --limit exclude each other.")
    from ledger.cli import events

    async def work(ledger: Ledger) -> int:
        return await events.history(
            settings, ledger, everything=everything, type=type or None, **request
        )

    return work
