"""`ledger reset`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ledger.cli.options import (
    Work,
    by_option,
    chosen_only,
    ledger_command,
    need_terminal_or_yes,
    reason_option,
    yes_option,
)
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.api import Ledger
    from ledger.requests import How
    from ledger.reset.tenant import Resetting


@ledger_command("reset")
@chosen_only
@click.option("--to", metavar="VERSION", help="Go back to this migration (0: to none).")
@click.option("--mark-only", is_flag=True, help="Change the records only; touch no table.")
@click.option("--drop-all", is_flag=True, help="Drop everything that the migrations created.")
@click.option(
    "--yes-drop",
    "yes_drop",
    multiple=True,
    metavar="NAME",
    help="Drop this tenant's objects without asking. May be repeated.",
)
@by_option("How --to undoes: by down steps, by backup, or by whichever there is.")
@click.option("--dry-run", is_flag=True, help="Print what would be done and touch nothing.")
@reason_option
@yes_option
def command(
    settings: Settings,
    *,
    tenants: str | tuple[str, ...],
    to: str | None,
    mark_only: bool,
    drop_all: bool,
    yes_drop: tuple[str, ...],
    by: How,
    dry_run: bool,
    reason: str,
    yes: bool,
) -> Work:
    """Go back to a version by really undoing (--to), by the records alone (--to --mark-only), or
    drop everything that the migrations created (--drop-all), so that migrate starts anew.

    --drop-all takes a backup first, and asks for each tenant's name; -y does not answer that.
    """
    if (to is None) == (not drop_all) or (drop_all and mark_only):
        raise click.UsageError("write --to VERSION, --to VERSION --mark-only, or --drop-all.")
    if drop_all and yes and not yes_drop and not dry_run and not sys.stdin.isatty():
        raise click.UsageError(
            "-y does not answer --drop-all: add --yes-drop NAME for each tenant."
        )
    need_terminal_or_yes(yes=dry_run or bool(yes_drop) or (yes and not drop_all))
    from ledger.cli import shown
    from ledger.reset.render import write_resets

    async def undo(ledger: Ledger) -> int:
        if dry_run or not yes:
            code = shown.plan(settings, await ledger.plan_rollback(tenants, to=to, by=by))
            if dry_run:
                return code
        question = f"Undo everything after {to}, by down steps or backup,"
        await shown.ask(ledger, tenants, question, yes=yes)
        report = await ledger.reset(tenants, to=to, by=by, reason=reason)
        return await shown.report(settings, ledger, report)

    async def records(ledger: Ledger) -> int:
        if dry_run or not yes:
            plans = await ledger.plan_reset(tenants, to=to)
            write_resets(plans, form=settings.format, out=sys.stdout)
            if dry_run:
                return 0
        question = f"Change the records only, to {to}, touching no table,"
        await shown.ask(ledger, tenants, question, yes=yes)
        report = await ledger.reset(tenants, to=to, mark_only=True, reason=reason)
        return await shown.report(settings, ledger, report)

    async def drop(ledger: Ledger) -> int:
        plans = await ledger.plan_reset(tenants, drop_all=True)
        if dry_run:
            write_resets(plans, form=settings.format, out=sys.stdout)
            return shown.CHECK_FOUND if any(plan.problem for plan in plans) else 0
        if not yes_drop:
            write_resets(plans, form=settings.format, out=sys.stderr)
        _confirm_each(plans, yes_drop)
        report = await ledger.reset(tenants, drop_all=True, reason=reason)
        return await shown.report(settings, ledger, report)

    return drop if drop_all else records if mark_only else undo


def _confirm_each(plans: Sequence[Resetting], named: tuple[str, ...]) -> None:
    """Every tenant's name, on the command line or typed. Raises UsageError, Abort."""
    missing = [plan.tenant for plan in plans if plan.tenant not in named]
    if named and missing:
        raise click.UsageError(
            f"--yes-drop does not name {', '.join(missing[:5])}: each tenant is to be named."
        )
    for tenant in missing:
        typed = click.prompt(
            f"Everything listed of {tenant} will be dropped, with its data. Type its name",
            err=True,
            default="",
            show_default=False,
        )
        if typed != tenant:
            raise click.Abort
