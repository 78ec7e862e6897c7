"""`ledger verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import Settings, ledger_command

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("verify")
@click.option("--anchor", metavar="'SEQ HASH'", help="Compare with an end that was kept elsewhere.")
@click.option("--rebuild", is_flag=True, help="Replace the stored projections by the replay's.")
def command(settings: Settings, *, anchor: str | None, rebuild: bool) -> None:
    """Recompute the ledger's hash chain and compare every stored projection with a full replay.

    Ends with 4 and the first bad seq if anything does not hold.
    """
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        return shown.verified(settings, await ledger.verify(anchor=anchor, rebuild=rebuild))

    run(settings, work)
