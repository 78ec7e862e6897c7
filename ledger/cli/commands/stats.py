"""`ledger stats`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import click

from ledger.cli.options import Settings, chosen_or_all, ledger_command, tenant_options

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("stats")
@tenant_options
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
    help="So many of the slowest steps.",
)
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    by: Literal["tenant", "migration", "step"] | None,
    migration: str | None,
    limit: int,
) -> None:
    """Show sizes, growth by migration, and the slowest steps over the fleet.

    From what runs recorded: no tenant is opened.
    """
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import shown
    from ledger.cli.session import run
    from ledger.render.figures import write_stats

    async def work(ledger: Ledger) -> int:
        made = await ledger.stats(selection, migration=migration, steps=limit)
        write_stats(made, part=by, form=settings.format, out=sys.stdout)
        return shown.unanswered(settings, ledger)

    run(settings, work)
