"""`ledger show`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("show")
@click.argument("what", metavar="SEQ|MIGRATION")
@click.option("--tenant", metavar="NAME", help="Of a migration: only where it ran on this tenant.")
def command(settings: Settings, **request: Any) -> Work:
    """Show an event with its neighbours, its run and its statement, or a migration as it ran.

    A number without a leading zero is an event's seq; VERSION and SET/VERSION name a migration, whose
    texts, steps and hashes come from the ledger, with where and when it ran, and what undid it.
    """
    from ledger.show.render import write_show

    async def work(ledger: Ledger) -> None:
        write_show(await ledger.show(**request), form=settings.format, out=sys.stdout)

    return work
