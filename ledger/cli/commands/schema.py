"""`ledger schema`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ledger.cli.options import Work, ledger_command, one_tenant
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("schema")
@one_tenant
def command(settings: Settings, *, tenant: str) -> Work:
    """Show the live schema of one TENANT; with --format json as a snapshot for validate --schema."""
    from ledger.render.schema import write_schema

    async def work(ledger: Ledger) -> int:
        write_schema(await ledger.schema(tenant), form=settings.format, out=sys.stdout)
        return 0

    return work
