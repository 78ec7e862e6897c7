"""`ledger verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("verify")
@click.option("--anchor", metavar="'SEQ HASH'", help="Compare with an end that was kept elsewhere.")
@click.option(
    "--rebuild",
    is_flag=True,
    help="Replace the projections by the replay's; keep missing texts again.",
)
def command(settings: Settings, **request: Any) -> Work:
    """Recompute the ledger's hash chain, rehash its texts, and compare projections with a full replay.

    Ends with 4, the first bad seq, and each text that was changed or is missing. With --rebuild a
    missing text is taken from its migration's file, if that is as it was when it ran.
    """
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        return shown.verified(settings, await ledger.verify(**request))

    return work
