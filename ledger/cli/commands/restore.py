"""`ledger restore`."""

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
from ledger.cli.times import TIME

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("restore")
@tenant_options
@click.option("--backup", metavar="SEQ|PATH", help="This one (default: the newest).")
@click.option("--at", type=TIME, help="The newest one from before then.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    backup: str | None,
    at: str | None,
    reason: str,
    yes: bool,
) -> None:
    """Put tenants back to a backup. What was written since is lost: stop the application first."""
    if backup is not None and at is not None:
        raise click.UsageError("--backup and --at exclude each other.")
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    need_terminal_or_yes(yes=yes)
    from ledger.cli import shown
    from ledger.cli.session import run

    which = (
        f"backup {backup}" if backup else f"the backup before {at}" if at else "the newest backup"
    )

    async def work(ledger: Ledger) -> int:
        await shown.ask(
            ledger, selection, f"Restore {which}, losing all data written since,", yes=yes
        )
        seq = int(backup) if backup is not None and backup.isdigit() else backup
        report = await ledger.restore(selection, backup=seq, at=at, reason=reason)
        return await shown.report(settings, ledger, report)

    run(settings, work)
