"""`ledger backups`, with `list`, `verify` and `prune`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import (
    Work,
    all_or_chosen,
    chosen_only,
    chosen_or_all,
    ledger_command,
    need_terminal_or_yes,
    reason_option,
    shared_options,
    tenant_options,
    yes_option,
)
from ledger.cli.settings import Settings
from ledger.cli.times import TIME
from ledger.render.text import one_line

if TYPE_CHECKING:
    from ledger.api import Ledger


@click.group("backups", invoke_without_command=True, context_settings={"max_content_width": 100})
@tenant_options
@click.pass_context
def command(ctx: click.Context, *, all_tenants: bool, tenants: tuple[str, ...]) -> None:
    """Show the backups that were taken, with the seq that `restore --backup` takes."""
    if ctx.invoked_subcommand is None:
        from ledger.cli.session import run

        settings = ctx.ensure_object(Settings)
        selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
        run(settings, _list(settings, tenants=selection))
    elif all_tenants or tenants:
        raise click.UsageError(
            f"write the tenants after the word: ledger backups {ctx.invoked_subcommand} --tenant …"
        )


command.params.extend(shared_options())


def _list(settings: Settings, **request: Any) -> Work:
    from ledger.backups.render import write_backups
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        write_backups(await ledger.backups(**request), form=settings.format, out=sys.stdout)
        return shown.unanswered(settings, ledger)

    return work


@ledger_command("list")
@all_or_chosen
def list_command(settings: Settings, **request: Any) -> Work:
    """Show the backups: what `ledger backups` alone does."""
    return _list(settings, **request)


@ledger_command("verify")
@all_or_chosen
def verify_command(settings: Settings, **request: Any) -> Work:
    """Read every backup through: its hash, and that a restore would take it. Ends with 4 if one is bad."""
    from ledger.backups.render import write_checks
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        found = await ledger.verify_backups(**request)
        write_checks(found, form=settings.format, out=sys.stdout, quiet=settings.quiet)
        code = 0 if all(check.sound for check in found) else shown.CHECK_FOUND
        return shown.unanswered(settings, ledger, code)

    return work


@ledger_command("prune")
@chosen_only
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the newest N.")
@click.option(
    "--older-than", "before", type=TIME, metavar="AGE", help="Only older ones (30d, 12h)."
)
@click.option("--dry-run", is_flag=True, help="List what would go and touch nothing.")
@reason_option
@yes_option
def prune_command(
    settings: Settings, *, dry_run: bool, reason: str, yes: bool, **request: Any
) -> Work:
    """Delete old backups: those beyond the newest N and older than AGE, after showing them.

    The newest backup of a tenant that reads through is never deleted.
    """
    if request["keep"] is None and request["before"] is None:
        raise click.UsageError("say which backups may go: --keep N, --older-than AGE, or both.")
    need_terminal_or_yes(yes=yes or dry_run)
    from ledger.backups.render import write_prunings
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        if dry_run or not yes:
            plans = await ledger.plan_prune(**request)
            write_prunings(plans, form=settings.format, out=sys.stdout)
            for plan in plans:
                if plan.problem:
                    sys.stderr.write(f"{one_line(plan.tenant)}: {one_line(plan.problem)}\n")
            if dry_run:
                return 0
        await shown.ask(ledger, request["tenants"], "Delete these backups", yes=yes)
        report = await ledger.prune_backups(**request, reason=reason)
        return await shown.report(settings, ledger, report)

    return work


for subcommand in (list_command, verify_command, prune_command):
    command.add_command(subcommand)
