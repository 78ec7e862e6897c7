"""`ledger resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    ledger_command,
    one_tenant,
    reason_option,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("resolve")
@one_tenant
@click.option("--applied", is_flag=True, help="The step took effect.")
@click.option("--not-applied", is_flag=True, help="The step took no effect.")
@click.option("--restore", is_flag=True, help="Restore the backup from before it.")
@reason_option
@yes_option
def command(settings: Settings, *, tenant: str, reason: str, yes: bool, **ways: bool) -> Work:
    """Settle a step of TENANT whose outcome is in doubt, after looking at the evidence that `status` shows.

    Then `ledger migrate --tenant NAME` goes on from there.
    """
    if sum(ways.values()) != 1:
        raise click.UsageError("say how: one of --applied, --not-applied and --restore.")
    from ledger.cli import shown

    how: Any = next(way for way, named in ways.items() if named)

    async def work(ledger: Ledger) -> int:
        report = await ledger.resolve(tenant, how=how, reason=reason)
        return await shown.report(settings, ledger, report)

    return work
