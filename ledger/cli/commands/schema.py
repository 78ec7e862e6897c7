"""`ledger schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import Settings, ledger_command

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("schema")
@click.argument("tenant")
def command(settings: Settings, *, tenant: str) -> None:
    """Show one tenant's live schema; with --format json as a snapshot for validate --schema."""
    import sys

    from ledger.cli.session import run
    from ledger.render.schema import write_schema

    async def work(ledger: Ledger) -> int:
        write_schema(await ledger.schema(tenant), form=settings.format, out=sys.stdout)
        return 0

    run(settings, work)
