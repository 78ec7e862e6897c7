"""`ledger baseline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    chosen_only,
    ledger_command,
    need_terminal_or_yes,
    reason_option,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("baseline")
@chosen_only
@click.option("--to", required=True, metavar="VERSION", help="Up to this migration, included.")
@reason_option
@yes_option
def command(settings: Settings, *, yes: bool, **request: Any) -> Work:
    """Count migrations as applied without running them: for databases that have them already."""
    need_terminal_or_yes(yes=yes)
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        question = f"Count everything up to {request['to']} as applied without running it"
        await shown.ask(ledger, request["tenants"], question, yes=yes)
        return await shown.report(settings, ledger, await ledger.baseline(**request))

    return work
