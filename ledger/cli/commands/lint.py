"""`ledger lint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.cli.options import Settings, ledger_command

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("lint")
def command(settings: Settings) -> None:
    """Check the migration files: what would be lost, could not be settled, or would not run.

    Ends with 4 if a finding is an error; warnings are shown.
    """
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        return shown.findings(settings, await ledger.lint())

    run(settings, work)
