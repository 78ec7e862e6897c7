"""`ledger restore`."""

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
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("restore")
@chosen_only
@click.option("--backup", metavar="SEQ|PATH", help="This one (default: the newest).")
@click.option("--at", type=TIME, help="The newest one from before then.")
@reason_option
@yes_option
def command(
    settings: Settings, *, backup: str | None, at: str | None, yes: bool, **request: Any
) -> Work:
    """Put tenants back to a backup. What was written since is lost: stop the application first."""
    if backup is not None and at is not None:
        raise click.UsageError("--backup and --at exclude each other.")
    need_terminal_or_yes(yes=yes)
    from ledger.cli import shown

    which = (
        f"backup {backup}" if backup else f"the backup before {at}" if at else "the newest backup"
    )
    seq = int(backup) if backup is not None and backup.isdigit() else backup

    async def work(ledger: Ledger) -> int:
        question = f"Restore {which}, losing all data written since,"
        await shown.ask(ledger, request["tenants"], question, yes=yes)
        report = await ledger.restore(**request, backup=seq, at=at)
        return await shown.report(settings, ledger, report)

    return work
