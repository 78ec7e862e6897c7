"""`ledger resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ledger.cli.options import Settings, ledger_command, reason_option, yes_option

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("resolve")
@click.option("--tenant", required=True, metavar="NAME", help="The tenant in doubt.")
@click.option("--applied", "how", flag_value="applied", help="The step took effect.")
@click.option("--not-applied", "how", flag_value="not_applied", help="The step took no effect.")
@click.option("--restore", "how", flag_value="restore", help="Restore the backup from before it.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    tenant: str,
    how: Literal["applied", "not_applied", "restore"] | None,
    reason: str,
    yes: bool,
) -> None:
    """Settle a step whose outcome is in doubt, after looking at the evidence that `status` shows.

    Then `ledger migrate --tenant NAME` goes on from there.
    """
    if how is None:
        raise click.UsageError("say how: --applied, --not-applied or --restore.")
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        report = await ledger.resolve(tenant, how=how, reason=reason)
        return await shown.report(settings, ledger, report)

    run(settings, work)
