"""`ledger maintain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    chosen_only,
    ledger_command,
    need_terminal_or_yes,
    parallel_option,
    reason_option,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger
    from ledger.requests import Task


@ledger_command("maintain")
@click.option(
    "--task",
    type=click.Choice(["optimize", "orphans", "archive"]),
    required=True,
    help="What to do.",
)
@chosen_only
@click.option("--table", metavar="TABLE", help="archive: the table.")
@click.option("--column", metavar="COLUMN", help="archive: the column that says how old a row is.")
@click.option("--older-than", metavar="AGE", help="archive: such as 90d (s, m, h, d, w).")
@click.option(
    "--apply", is_flag=True, help="orphans, archive: make the changes, not only report them."
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows at a time."
)
@parallel_option
@reason_option
@yes_option
def command(settings: Settings, *, task: Task, apply: bool, yes: bool, **request: Any) -> Work:
    """Optimise tables, find rows without a parent, or move old rows into a file.

    optimize refreshes statistics and gives free space back. orphans looks for rows that a
    declared foreign key should have prevented, and ends with 4 if there are any; with
    --apply they are deleted. archive counts old rows; with --apply they are written to a
    file beside the backups and then deleted.
    """
    apply = apply and task != "optimize"
    if apply:
        need_terminal_or_yes(yes=yes)
    from ledger.cli import shown
    from ledger.maintain.render import write_maintained

    async def work(ledger: Ledger) -> int:
        if apply:
            rows = f"Archive and delete rows of {request['table']}"
            what = "Delete orphans" if task == "orphans" else rows
            await shown.ask(ledger, request["tenants"], what, yes=yes)
        report = await ledger.maintain(**request, task=task, apply=apply)
        ledger.progress.close()
        write_maintained(report, form=settings.format, out=sys.stdout, quiet=settings.quiet)
        return report.exit_code

    return work
