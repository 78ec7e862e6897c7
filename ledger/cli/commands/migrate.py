"""`ledger migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ledger.cli.options import (
    Settings,
    chosen,
    ledger_command,
    reason_option,
    tenant_options,
    yes_option,
)

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("migrate")
@tenant_options
@click.option("--to", metavar="VERSION", help="Stop after this migration (VERSION or SET/VERSION).")
@click.option("--dry-run", is_flag=True, help="Print the plan and touch nothing.")
@click.option("--parallel", type=click.IntRange(min=1), metavar="N", help="So many at once.")
@click.option("--no-backup", is_flag=True, help="Take no backups.")
@click.option(
    "--on-error",
    type=click.Choice(["continue", "stop"]),
    default="continue",
    show_default=True,
    help="Whether a failed tenant stops the run.",
)
@click.option("--max-failures", metavar="N|N%", help="Stop after more failures than this.")
@click.option("--out-of-order", is_flag=True, help="Apply versions that come late.")
@click.option(
    "--explain",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Explain this file's queries before and after; tell what changed.",
)
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    to: str | None,
    dry_run: bool,
    parallel: int | None,
    no_backup: bool,
    on_error: Literal["continue", "stop"],
    max_failures: str | None,
    out_of_order: bool,
    explain: str | None,
    reason: str,
    yes: bool,
) -> None:
    """Apply pending migrations to the chosen tenants.

    Safe to type again at any time: what is applied is not applied twice, and
    what was interrupted goes on from where it stood. -y is accepted and not needed.
    """
    if dry_run and explain:
        raise click.UsageError("--explain looks before and after a run: leave --dry-run out.")
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        if dry_run:
            plan = await ledger.plan(
                selection,
                to=to,
                out_of_order=out_of_order or None,
                backup="never" if no_backup else None,
            )
            return shown.plan(settings, plan)
        report = await ledger.migrate(
            selection,
            to=to,
            parallel=parallel,
            backup="never" if no_backup else None,
            on_error=on_error,
            max_failures=max_failures,
            out_of_order=out_of_order or None,
            explain=explain,
            reason=reason,
        )
        return await shown.report(settings, ledger, report)

    run(settings, work)
