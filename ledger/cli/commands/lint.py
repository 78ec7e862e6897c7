"""`ledger lint`."""

from __future__ import annotations

import click

from ledger.cli.options import ledger_command
from ledger.cli.settings import Settings


@ledger_command("lint")
def command(settings: Settings) -> None:
    """Check the migration files: what would be lost, could not be settled, or would not run.

    Ends with 4 if a finding is an error; warnings are shown.
    """
    import anyio

    from ledger.api.lint import lint_config
    from ledger.cli import lists
    from ledger.config import load_config

    found = anyio.run(lint_config, load_config(settings.config, env=settings.env))
    raise click.exceptions.Exit(lists.findings(settings, found))
