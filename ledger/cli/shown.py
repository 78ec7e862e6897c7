"""From what the API returns to what is printed, and to the exit code.

Writers are imported where they are used: each command loads what it prints.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ledger.cli.options import confirm
from ledger.cli.session import same_command
from ledger.cli.settings import Settings
from ledger.errors import LedgerError
from ledger.render.errors import write_error, write_log
from ledger.render.rows import write_json
from ledger.render.text import Symbols, count_text, one_line, shell_word, write_lines

if TYPE_CHECKING:
    from ledger.api import Ledger
    from ledger.api.verify import VerifyReport
    from ledger.fleet.planning import FleetPlan
    from ledger.fleet.report import RunReport
    from ledger.fleet.validation import ValidationReport

SOME_FAILED: Final = 3
CHECK_FOUND: Final = 4
SUMMARY_NAMES: Final = 3


async def ask(
    ledger: Ledger, selection: str | tuple[str, ...], question: str, *, yes: bool
) -> None:
    """Ask before a destructive command, with the tenants it concerns. Raises click.Abort on no."""
    if yes:
        return
    names = [target.name for target in await ledger.tenants(selection)]
    some = ", ".join(names[:SUMMARY_NAMES]) + (" …" if len(names) > SUMMARY_NAMES else "")
    confirm(f"{question} on {count_text(len(names), 'tenant')} ({some})?", yes=yes)


def unanswered(settings: Settings, ledger: Ledger, code: int = 0) -> int:
    """Name the sources that did not answer: what was printed lacks their tenants. 3, where `code` is 0."""
    for lost in ledger.lost:
        error = LedgerError(
            f"{lost.source}: left out: {lost.error}"
            if lost.aside
            else f"{lost.source} did not answer, and its tenants are left out: {lost.error}",
            hint=lost.error.hint,
        )
        write_error(error, log_format=settings.log_format, out=sys.stderr)
    return code or (SOME_FAILED if ledger.lost else 0)


def gone(settings: Settings, names: Sequence[str]) -> None:
    """A note on stderr of tenants that the ledger knows and no source names; a table alone would hide them."""
    if not names or settings.quiet or settings.format != "table":
        return
    some = ", ".join(names[:SUMMARY_NAMES]) + (" …" if len(names) > SUMMARY_NAMES else "")
    have = "tenant has" if len(names) == 1 else "tenants have"
    write_log(
        "note",
        f"{len(names):,} more {have} applied migrations in this ledger, and no source names"
        f" {'it' if len(names) == 1 else 'them'}: {one_line(some)}. If that is not meant, look for what was"
        f" deleted, renamed or left out of [[tenants]]; `ledger history {shell_word(names[0])}` shows what ran.",
        log_format=settings.log_format,
        out=sys.stderr,
    )


def plan(settings: Settings, made: FleetPlan) -> int:
    """A plan; 4 if a tenant would be refused."""
    from ledger.render.plan import write_plan

    write_plan(made, form=settings.format, out=sys.stdout, with_sql=settings.verbose > 0)
    return CHECK_FOUND if any(tenant.problem for tenant in made.tenants) else 0


async def report(settings: Settings, ledger: Ledger, made: RunReport) -> int:
    """A run's report; with -v and one tenant, the run's story before it."""
    from ledger.render.report import write_report
    from ledger.render.story import story_lines

    ledger.progress.close()
    if (
        settings.verbose
        and not settings.quiet
        and settings.format == "table"
        and len(made.outcomes) == 1
        and made.run
    ):
        tenant = made.outcomes[0].tenant
        target = (await ledger.tenants(tenant))[0]
        events = [row async for row in ledger.history(tenant, run=made.run)]
        lines = story_lines(events, where=str(target.url), symbols=Symbols(sys.stdout))
        write_lines(lines, out=sys.stdout)
    again = same_command(settings)
    write_report(made, form=settings.format, out=sys.stdout, again=again, quiet=settings.quiet)
    if made.command == "migrate":
        gone(settings, ledger.gone)
    return made.exit_code


def validation(settings: Settings, ledger: Ledger, made: ValidationReport) -> int:
    """What validate found."""
    from ledger.render.validation import write_validation

    ledger.progress.close()
    write_validation(
        made,
        form=settings.format,
        out=sys.stdout,
        verbose=settings.verbose > 0,
        quiet=settings.quiet,
    )
    return made.exit_code


_MISSING_TEXTS: Final = (
    "`ledger verify --rebuild` takes missing texts from migration files that are as they were when they ran;"
    " for the others, put back a copy of the ledger."
)
_CHANGED_TEXTS: Final = (
    "Put back a copy of the ledger from before: what these texts belong to is not rolled back by its steps"
    " until then."
)


def verified(settings: Settings, made: VerifyReport) -> int:
    """Whether chain and kept texts hold, and the first seq at which the chain does not."""
    if settings.format != "table":
        write_json(made, out=sys.stdout)
        return made.exit_code
    for problem in made.problems:
        sys.stdout.write(f"{one_line(problem)}\n")
    if made.sound and not settings.quiet:
        events, texts = count_text(made.events, "event"), count_text(made.texts, "kept text")
        sys.stdout.write(f"{events} verified, the chain holds; hash {made.hash}\n")
        sys.stdout.write(f"{texts} verified\n")
    elif made.bad_seq is not None:
        sys.stdout.write(f"First bad event: seq {made.bad_seq}\n")
    if any(text.found is None for text in made.bad_texts) and not made.rebuilt:
        sys.stdout.write(f"{_MISSING_TEXTS}\n")
    elif made.bad_texts:
        sys.stdout.write(f"{_CHANGED_TEXTS}\n")
    return made.exit_code
