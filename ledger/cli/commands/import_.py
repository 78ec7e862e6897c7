"""`ledger import`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    chosen_only,
    ledger_command,
    need_terminal_or_yes,
    yes_option,
)
from ledger.cli.settings import Settings
from ledger.scripts.foreign import SOURCES

if TYPE_CHECKING:
    from ledger.api import Ledger


_TOOLS = tuple(SOURCES)


@ledger_command("import")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="TOOL",
    help=f"{', '.join(_TOOLS[:-1])} or {_TOOLS[-1]}.",
)
@chosen_only
@click.option(
    "--table", metavar="NAME", help="The tool's history table, where it has another name."
)
@click.option("--registry", metavar="NAME", help="The database, or the file beside, that holds it.")
@click.option(
    "--scope", metavar="NAME", help="One app (Django), project (Sqitch) or set of the tool's."
)
@click.option(
    "--set", "set_name", metavar="NAME", help="The set on disk that the history is about."
)
@click.option("--dry-run", is_flag=True, help="Show the plan and touch nothing.")
@yes_option
def command(settings: Settings, *, dry_run: bool, yes: bool, **request: Any) -> Work:
    """Take over from another migration tool: count as applied what its history table says.

    The versions are looked up among the migrations on disk; the tool's tables are only read.
    """
    need_terminal_or_yes(yes=yes or dry_run)
    from ledger.adopt.render import write_plans
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        if dry_run or not yes:
            plans = await ledger.plan_import(**request)
            code = write_plans(plans, form=settings.format, out=sys.stdout)
            if dry_run:
                return code
        question = f"Count what {request['source']} applied as applied"
        await shown.ask(ledger, request["tenants"], question, yes=yes)
        return await shown.report(settings, ledger, await ledger.import_from(**request))

    return work
