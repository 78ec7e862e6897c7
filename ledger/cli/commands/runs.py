"""`ledger runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("runs")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
def command(settings: Settings, **request: Any) -> Work:
    """Show the runs: who did what to how many tenants, and how it ended."""
    from ledger.cli import lists

    async def work(ledger: Ledger) -> int:
        return lists.runs(settings, await ledger.runs(**request))

    return work
