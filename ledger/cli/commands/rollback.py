"""`ledger rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    by_option,
    chosen,
    ledger_command,
    need_terminal_or_yes,
    reason_option,
    tenant_options,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("rollback")
@click.argument("migration", required=False)
@tenant_options
@click.option("--to", metavar="VERSION", help="Undo everything after this migration (0: all).")
@click.option("--run", metavar="ID", help="Undo what this run did, on its tenants.")
@by_option("By down steps, by backup, or by whichever there is.")
@click.option("--dry-run", is_flag=True, help="Print the plan and touch nothing.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    all_tenants: bool,
    tenants: tuple[str, ...],
    dry_run: bool,
    reason: str,
    yes: bool,
    **request: Any,
) -> Work:
    """Undo one MIGRATION (the newest by default), newest first.

    By its down steps, as they were when it was applied; a migration that has
    none is undone by putting back the backup from before it.
    """
    migration, to, run = request["migration"], request["to"], request["run"]
    if sum(choice is not None for choice in (migration, to, run)) > 1:
        raise click.UsageError("MIGRATION, --to and --run exclude each other.")
    everywhere = all_tenants or (run is not None and not tenants)
    selection = chosen(all_tenants=everywhere, tenants=tenants)
    need_terminal_or_yes(yes=yes or dry_run)
    from ledger.cli import shown

    what = migration or (f"everything after {to}" if to else None)
    what = what or (f"what run {run} did" if run else "the newest migration")

    async def work(ledger: Ledger) -> int:
        if dry_run or not yes:
            code = shown.plan(settings, await ledger.plan_rollback(selection, **request))
            if dry_run:
                return code
        await shown.ask(ledger, selection, f"Roll back {what}", yes=yes)
        report = await ledger.rollback(selection, reason=reason, **request)
        return await shown.report(settings, ledger, report)

    return work
