"""`ledger unlock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    chosen_only,
    ledger_command,
    need_terminal_or_yes,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("unlock")
@chosen_only
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded.")
@yes_option
def command(settings: Settings, *, yes: bool, **request: Any) -> Work:
    """Release a stale lock: end the claim on a tenant. Its holder, if it is still alive, can write no more.

    Rarely needed: a claim whose process is gone is taken over by itself.
    """
    need_terminal_or_yes(yes=yes)
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        await shown.ask(ledger, request["tenants"], "End the claims", yes=yes)
        return await shown.report(settings, ledger, await ledger.unlock(**request))

    return work
