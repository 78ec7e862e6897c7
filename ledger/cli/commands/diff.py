"""`ledger diff`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, all_or_chosen, ledger_command
from ledger.cli.settings import Settings
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("diff")
@all_or_chosen
@click.option(
    "--from", "since", type=TIME, required=True, help="The earlier time (UTC, or 2h, 3d ago)."
)
@click.option("--to", "until", type=TIME, help="The later time; now by default.")
def command(settings: Settings, **request: Any) -> Work:
    """Show what changed over the fleet between two times, by version and by tenant.

    What `status --at` shows of both times, compared; also tenants that came and went.
    """
    from ledger.diff.render import write_diff

    async def work(ledger: Ledger) -> None:
        write_diff(await ledger.diff(**request), form=settings.format, out=sys.stdout)

    return work
