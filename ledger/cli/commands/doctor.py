"""`ledger doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ledger.cli.options import Settings, chosen_or_all, ledger_command, tenant_options

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("doctor")
@tenant_options
@click.option("--quick", is_flag=True, help="Leave out what reads every row.")
@click.option("--parallel", type=click.IntRange(min=1), metavar="N", help="So many at once.")
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    quick: bool,
    parallel: int | None,
) -> None:
    """Look whether everything is there that a run will need. No tenant is written.

    Connections, privileges, integrity, foreign keys, disk space, versions, the ledger,
    the backup folder. Ends with 4 if something is wrong.
    """
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli.session import run
    from ledger.render.doctor import write_doctor

    async def work(ledger: Ledger) -> int:
        made = await ledger.doctor(selection, quick=quick, parallel=parallel)
        ledger.progress.close()
        write_doctor(
            made,
            form=settings.format,
            out=sys.stdout,
            verbose=settings.verbose > 0,
            quiet=settings.quiet,
        )
        return made.exit_code

    run(settings, work)
