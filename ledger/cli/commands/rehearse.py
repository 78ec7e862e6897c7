"""`ledger rehearse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ledger.cli.options import Settings, chosen, ledger_command, tenant_options

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("rehearse")
@tenant_options
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
@click.option("--parallel", type=click.IntRange(min=1), metavar="N", help="So many at once.")
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    sample: int | None,
    to: str | None,
    source: Literal["auto", "backup", "live"],
    parallel: int | None,
) -> None:
    """Try what is pending on copies: migrate, roll back, migrate again. No live tenant is changed.

    Ends with 4 if a migration, a check or its down steps fail there, with 3 if a tenant
    could not be rehearsed.
    """
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        report = await ledger.rehearse(
            selection, sample=sample, to=to, source=source, parallel=parallel
        )
        return shown.rehearsal(settings, ledger, report)

    run(settings, work)
