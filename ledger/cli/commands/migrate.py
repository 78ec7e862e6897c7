"""`ledger migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    chosen_only,
    ledger_command,
    parallel_option,
    reason_option,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("migrate")
@chosen_only
@click.option("--to", metavar="VERSION", help="Stop after this migration (VERSION or SET/VERSION).")
@click.option("--dry-run", is_flag=True, help="Print the plan and touch nothing.")
@parallel_option
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
    help="Explain this file's queries before and after, and report what changed.",
)
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    dry_run: bool,
    no_backup: bool,
    out_of_order: bool,
    yes: bool,
    **request: Any,
) -> Work:
    """Apply pending migrations to the chosen tenants.

    Safe to type again at any time: what is applied is not applied twice, and
    what was interrupted goes on from where it stood. -y is accepted and not needed.
    """
    if dry_run and request["explain"]:
        raise click.UsageError(
            "--explain compares query plans from before and after a run: leave --dry-run out."
        )
    request |= {
        "backup": "never" if no_backup else None,
        "out_of_order": out_of_order or None,
    }
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        if dry_run:
            planned = {key: request[key] for key in ("tenants", "to", "backup", "out_of_order")}
            return shown.plan(settings, await ledger.plan(**planned))
        return await shown.report(settings, ledger, await ledger.migrate(**request))

    return work
