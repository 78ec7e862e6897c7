"""`ledger validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, all_or_chosen, ledger_command, reason_option
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("validate")
@all_or_chosen
@click.option(
    "--schema",
    metavar="FILE",
    help="Compare with this snapshot (JSON, from `ledger schema TENANT --format json`) or SQL file instead.",
)
@click.option("--accept", is_flag=True, help="Accept what differs as what it should be.")
@reason_option
def command(settings: Settings, **request: Any) -> Work:
    """Run the checks of every applied migration and compare the live schema with what it should be.

    Ends with 4 if a check does not hold or a schema differs.
    """
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        return shown.validation(settings, ledger, await ledger.validate(**request))

    return work
