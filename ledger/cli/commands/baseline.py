"""`ledger baseline`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import (
    Settings,
    chosen,
    ledger_command,
    need_terminal_or_yes,
    reason_option,
    tenant_options,
    yes_option,
)

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("baseline")
@tenant_options
@click.option("--to", required=True, metavar="VERSION", help="Up to this migration, included.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    to: str,
    reason: str,
    yes: bool,
) -> None:
    """Count migrations as applied without running them: for databases that have them already."""
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    need_terminal_or_yes(yes=yes)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        question = f"Count everything up to {to} as applied without running it"
        await shown.ask(ledger, selection, question, yes=yes)
        report = await ledger.baseline(selection, to=to, reason=reason)
        return await shown.report(settings, ledger, report)

    run(settings, work)
