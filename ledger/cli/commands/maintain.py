"""`ledger maintain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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

if TYPE_CHECKING:
    from ledger.api import Ledger


@ledger_command("maintain")
@click.option(
    "--task",
    type=click.Choice(["optimize", "orphans", "archive"]),
    required=True,
    help="What to do.",
)
@tenant_options
@click.option("--table", metavar="TABLE", help="archive: the table.")
@click.option("--column", metavar="COLUMN", help="archive: the column that says how old a row is.")
@click.option("--older-than", metavar="AGE", help="archive: such as 90d (s, m, h, d, w).")
@click.option("--apply", is_flag=True, help="orphans, archive: do it, not only look.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows at a time."
)
@click.option("--parallel", type=click.IntRange(min=1), metavar="N", help="So many at once.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    task: Literal["optimize", "orphans", "archive"],
    all_tenants: bool,
    tenants: tuple[str, ...],
    table: str | None,
    column: str | None,
    older_than: str | None,
    apply: bool,
    batch: int,
    parallel: int | None,
    reason: str,
    yes: bool,
) -> None:
    """Optimise tables, find rows without a parent, or move old rows into a file.

    optimize refreshes statistics and gives free space back. orphans looks for rows that a
    declared foreign key should have prevented, and ends with 4 if there are any; with
    --apply they are deleted. archive counts old rows; with --apply they are written to a
    file beside the backups and then deleted.
    """
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    apply = apply and task != "optimize"
    if apply:
        need_terminal_or_yes(yes=yes)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        if apply:
            what = "Delete orphans" if task == "orphans" else f"Archive and delete rows of {table}"
            await shown.ask(ledger, selection, what, yes=yes)
        report = await ledger.maintain(
            selection,
            task=task,
            apply=apply,
            table=table,
            column=column,
            older_than=older_than,
            batch=batch,
            parallel=parallel,
            reason=reason,
        )
        return shown.maintained(settings, ledger, report)

    run(settings, work)
