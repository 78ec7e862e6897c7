"""`ledger stats`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, all_or_chosen, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger
    from ledger.stats.render import Part


@ledger_command("stats")
@all_or_chosen
@click.option(
    "--by",
    type=click.Choice(["tenant", "migration", "step"]),
    help="Only sizes by tenant, growth by migration, or the slowest steps.",
)
@click.option(
    "--migration", metavar="VERSION", help="Only this migration's (VERSION or SET/VERSION)."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many of the slowest steps to show.",
)
def command(settings: Settings, *, by: Part | None, limit: int, **request: Any) -> Work:
    """Show sizes, growth by migration, and the slowest steps over the fleet.

    From what runs recorded: no tenant is opened.
    """
    from ledger.cli import shown
    from ledger.stats.render import write_stats

    async def work(ledger: Ledger) -> int:
        made = await ledger.stats(**request, steps=limit)
        write_stats(made, part=by, form=settings.format, out=sys.stdout)
        return shown.unanswered(settings, ledger)

    return work
