"""`ledger import`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ledger.cli.options import (
    Settings,
    chosen,
    ledger_command,
    need_terminal_or_yes,
    tenant_options,
    yes_option,
)
from ledger.scripts.foreign import SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.api import Ledger
    from ledger.runner.importing import Importing


_TOOLS = tuple(SOURCES)


@ledger_command("import")
@click.option(
    "--from",
    "tool",
    required=True,
    metavar="TOOL",
    help=f"{', '.join(_TOOLS[:-1])} or {_TOOLS[-1]}.",
)
@tenant_options
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
def command(
    settings: Settings,
    *,
    tool: str,
    all_tenants: bool,
    tenants: tuple[str, ...],
    table: str | None,
    registry: str | None,
    scope: str | None,
    set_name: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Take over from another migration tool: count as applied what its history table says.

    The versions are looked up among the migrations on disk; the tool's tables are only read.
    """
    selection = chosen(all_tenants=all_tenants, tenants=tenants)
    need_terminal_or_yes(yes=yes or dry_run)
    from ledger.cli import shown
    from ledger.cli.session import run

    async def work(ledger: Ledger) -> int:
        if dry_run or not yes:
            plans = await ledger.plan_import(
                selection,
                source=tool,
                table=table,
                registry=registry,
                scope=scope,
                set_name=set_name,
            )
            code = _show(settings, plans)
            if dry_run:
                return code
        question = f"Count what {tool} applied as applied"
        await shown.ask(ledger, selection, question, yes=yes)
        report = await ledger.import_from(
            selection,
            source=tool,
            table=table,
            registry=registry,
            scope=scope,
            set_name=set_name,
        )
        return await shown.report(settings, ledger, report)

    run(settings, work)


def _show(settings: Settings, plans: Sequence[Importing]) -> int:
    """One row a tenant; 4 if one would be refused."""
    from ledger.cli.lists import CHECK_FOUND
    from ledger.render.rows import Column, write_rows

    columns = (
        Column("tenant", "Tenant"),
        Column("source", "History"),
        Column("migrations", "Counts as applied"),
        Column("known", "Counted already"),
        Column("notes", "Notes"),
        Column("problem", "Refused"),
        Column("hint", "Hint"),
    )
    rows = [
        {
            "tenant": plan.tenant,
            "engine": plan.engine,
            "source": plan.source,
            "migrations": list(plan.migrations),
            "known": list(plan.known),
            "notes": list(plan.notes),
            "problem": plan.problem,
            "hint": plan.hint,
        }
        for plan in plans
    ]
    write_rows(rows, columns, form=settings.format, out=sys.stdout, empty="No tenants.")
    return CHECK_FOUND if any(plan.problem for plan in plans) else 0
