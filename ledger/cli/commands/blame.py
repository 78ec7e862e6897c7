"""`ledger blame`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("blame")
@click.argument("name", metavar="TABLE[.COLUMN]")
@click.option("--tenant", required=True, metavar="NAME", help="The tenant that has it.")
def command(settings: Settings, **request: Any) -> Work:
    """Show which migration, step, run and actor brought a table or a column, and what changed it since.

    From the ledger alone: renames and rebuilt tables are followed, no tenant is opened.
    """
    from ledger.blame.render import write_blame

    async def work(ledger: Ledger) -> None:
        write_blame(await ledger.blame(**request), form=settings.format, out=sys.stdout)

    return work
