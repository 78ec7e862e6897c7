"""`ledger doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, all_or_chosen, ledger_command, parallel_option
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("doctor")
@all_or_chosen
@click.option("--quick", is_flag=True, help="Leave out what reads every row.")
@parallel_option
def command(settings: Settings, **request: Any) -> Work:
    """Check that everything a run needs is in place. No tenant is written.

    Connections, privileges, integrity, foreign keys, disk space, versions, the ledger,
    the backup folder. Ends with 4 if something is wrong.
    """
    from ledger.doctor.render import write_doctor

    async def work(ledger: Ledger) -> int:
        made = await ledger.doctor(**request)
        ledger.progress.close()
        write_doctor(
            made,
            form=settings.format,
            out=sys.stdout,
            verbose=settings.verbose > 0,
            quiet=settings.quiet,
        )
        return made.exit_code

    return work
