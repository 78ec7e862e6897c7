"""`ledger resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ledger.cli.options import (
    Settings,
    ledger_command,
    one_tenant_option,
    reason_option,
    require_tenant,
    yes_option,
)

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("resolve")
@one_tenant_option
@click.option("--applied", is_flag=True, help="The step took effect.")
@click.option("--not-applied", is_flag=True, help="The step took no effect.")
@click.option("--restore", is_flag=True, help="Restore the backup from before it.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    tenant: str | None,
    named: str | None,
    applied: bool,
    not_applied: bool,
    restore: bool,
    reason: str,
    yes: bool,
) -> None:
    """Settle a step of TENANT whose outcome is in doubt, after looking at the evidence that `status` shows.

    Then `ledger migrate --tenant NAME` goes on from there.
    """
    chosen = require_tenant(tenant, named)
    if applied + not_applied + restore != 1:
        raise click.UsageError("say how: one of --applied, --not-applied and --restore.")
    how: Literal["applied", "not_applied", "restore"] = (
        "applied" if applied else "not_applied" if not_applied else "restore"
    )
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        report = await ledger.resolve(chosen, how=how, reason=reason)
        return await shown.report(settings, ledger, report)

    run(settings, work)
