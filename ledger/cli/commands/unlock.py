"""`ledger unlock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import (
    Settings,
    chosen,
    ledger_command,
    need_terminal_or_yes,
    tenant_options,
    yes_option,
)

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("unlock")
@tenant_options
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded.")
@yes_option
def command(
    settings: Settings, *, all_tenants: bool, tenants: tuple[str, ...], reason: str, yes: bool
) -> None:
    """End a claim that nobody will end. Its holder, should it live after all, can write no more.

    Rarely needed: a claim whose process is gone is taken over by itself.
    """
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    need_terminal_or_yes(yes=yes)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        await shown.ask(ledger, selection, "End the claims", yes=yes)
        report = await ledger.unlock(selection, reason=reason)
        return await shown.report(settings, ledger, report)

    run(settings, work)
