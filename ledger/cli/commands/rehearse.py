"""`ledger rehearse`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, chosen_only, ledger_command, parallel_option
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("rehearse")
@chosen_only
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Only N of the chosen tenants."
)
@click.option("--to", metavar="VERSION", help="Stop after this migration (VERSION or SET/VERSION).")
@click.option(
    "--from",
    "source",
    type=click.Choice(["auto", "backup", "live"]),
    default="auto",
    show_default=True,
    help="From the newest backup, a copy of the live tenant, or whichever there is.",
)
@parallel_option
def command(settings: Settings, **request: Any) -> Work:
    """Try what is pending on copies: migrate, roll back, migrate again. No live tenant is changed.

    Ends with 4 if a migration, a check or its down steps fail there, with 3 if a tenant
    could not be rehearsed.
    """
    from ledger.rehearse.render import write_rehearsal

    async def work(ledger: Ledger) -> int:
        report = await ledger.rehearse(**request)
        ledger.progress.close()
        write_rehearsal(report, form=settings.format, out=sys.stdout, quiet=settings.quiet)
        return report.exit_code

    return work
