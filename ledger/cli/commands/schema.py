"""`ledger schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.cli.options import (
    Settings,
    ledger_command,
    one_tenant_option,
    require_tenant,
)

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("schema")
@one_tenant_option
def command(settings: Settings, *, tenant: str | None, named: str | None) -> None:
    """Show the live schema of one TENANT; with --format json as a snapshot for validate --schema."""
    import sys

    from ledger.cli.session import run
    from ledger.render.schema import write_schema

    chosen = require_tenant(tenant, named)

    async def work(ledger: Ledger) -> int:
        write_schema(await ledger.schema(chosen), form=settings.format, out=sys.stdout)
        return 0

    run(settings, work)
