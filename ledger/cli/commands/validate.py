"""`ledger validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.options import (
    Settings,
    chosen_or_all,
    ledger_command,
    reason_option,
    tenant_options,
)

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("validate")
@tenant_options
@click.option(
    "--schema",
    metavar="FILE",
    help="Compare with this snapshot (JSON, from `ledger schema TENANT --format json`) or SQL file instead.",
)
@click.option("--accept", is_flag=True, help="Take what differs for what it should be.")
@reason_option
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    schema: str | None,
    accept: bool,
    reason: str,
) -> None:
    """Run the checks of every applied migration and compare the live schema with what it should be.

    Ends with 4 if a check does not hold or a schema differs.
    """
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        report = await ledger.validate(selection, schema=schema, accept=accept, reason=reason)
        return shown.validation(settings, ledger, report)

    run(settings, work)
