"""Options that many commands share, and what they were set to.

Invariant: a shared option means the same before and after the command's name.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger

F = TypeVar("F", bound=Callable[..., Any])
Work = Callable[["Ledger"], Awaitable[int | None]]
"""What a command does with the open ledger; its exit code."""

Command = Callable[..., Work | None]


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value and param.name:
        setattr(ctx.ensure_object(Settings), param.name, value)


def shared_options() -> list[click.Parameter]:
    """--config, --env, --format, -q, -v, --log-format and --log-file; their values go to `Settings`."""
    return [
        _shared("--config", metavar="FILE", help="The configuration (default: ./ledger.toml)."),
        _shared("--env", metavar="NAME", help="Lay [env.NAME] over the configuration."),
        _shared(
            "--format",
            type=click.Choice(["table", "json", "jsonl", "csv"]),
            help="How results are printed (default: table).",
        ),
        _shared("-q", "--quiet", is_flag=True, help="No progress; only failures."),
        _shared("-v", "--verbose", count=True, help="Every step; twice for all logs."),
        _shared(
            "--log-format",
            type=click.Choice(["text", "json"]),
            help="How progress, logs and errors are printed on stderr (default: text).",
        ),
        _shared("--log-file", metavar="FILE", help="Append what happens to this file, too."),
    ]


def _shared(*names: str, **attributes: Any) -> click.Option:
    return click.Option(list(names), expose_value=False, callback=_keep, **attributes)


def ledger_command(name: str) -> Callable[[Command], click.Command]:
    """A command that gets `Settings` and its arguments. The work that it returns is done with the open ledger.

    The shared options close its help.
    """

    def wrap(function: Command) -> click.Command:
        @functools.wraps(function)
        def command(settings: Settings, **arguments: Any) -> None:
            work = function(settings, **arguments)
            if work is not None:
                from ledger.cli.session import run

                run(settings, work)

        made = click.command(name, context_settings={"max_content_width": 100})(
            click.make_pass_decorator(Settings)(command)
        )
        made.params.extend(shared_options())
        return made

    return wrap


def all_or_chosen(function: F) -> F:
    """Add --all-tenants and --tenant, and pass `tenants`: everything by default."""
    return _tenant_options(function, chosen_or_all)


def chosen_only(function: F) -> F:
    """Add --all-tenants and --tenant, and pass `tenants`: changing all of them is never a default."""
    return _tenant_options(function, chosen)


def _tenant_options(function: F, choose: Callable[..., str | tuple[str, ...]]) -> F:
    @functools.wraps(function)
    def choosing(*settings: Any, all_tenants: bool, tenants: Sequence[str], **others: Any) -> Any:
        selection = choose(all_tenants=all_tenants, tenants=tenants)
        return function(*settings, tenants=selection, **others)

    return tenant_options(cast(F, choosing))


def tenant_options(function: F) -> F:
    """Add --all-tenants and --tenant, to be read by `chosen` or `chosen_or_all`."""
    for option in (
        click.option(
            "--tenant",
            "tenants",
            multiple=True,
            metavar="NAME",
            help="A tenant, or a pattern with * and ?. May be repeated.",
        ),
        click.option("--all-tenants", is_flag=True, help="Every tenant of the configuration."),
    ):
        function = option(function)
    return function


def one_tenant(function: F, *, required: bool = True) -> F:
    """Add TENANT and --tenant NAME, which mean the same, and pass `tenant`: None where none is `required`."""

    @functools.wraps(function)
    def choosing(*settings: Any, tenant: str | None, named: str | None, **others: Any) -> Any:
        if tenant is not None and named is not None:
            raise click.UsageError("name the tenant once: TENANT, or --tenant NAME.")
        found = tenant if named is None else named
        if found is None and required:
            raise click.UsageError("name the tenant: TENANT, or --tenant NAME.")
        return function(*settings, tenant=found, **others)

    option = click.option("--tenant", "named", metavar="NAME", help="The same as TENANT.")
    argument = click.argument("tenant", required=False)
    return argument(option(cast(F, choosing)))


def chosen_or_all(*, all_tenants: bool, tenants: Sequence[str]) -> str | tuple[str, ...]:
    """What was chosen, everything by default. Raises click.UsageError for both options at once."""
    if all_tenants and tenants:
        raise click.UsageError("--all-tenants and --tenant exclude each other.")
    return tuple(tenants) or "*"


def chosen(*, all_tenants: bool, tenants: Sequence[str]) -> str | tuple[str, ...]:
    """What was chosen. Raises click.UsageError if nothing was: changing all tenants is never a default."""
    if not all_tenants and not tenants:
        raise click.UsageError(
            "choose the tenants to change: --all-tenants, or --tenant NAME (may be repeated)."
        )
    return chosen_or_all(all_tenants=all_tenants, tenants=tenants)


def parallel_option(function: F) -> F:
    """Add --parallel."""
    kind = click.IntRange(min=1)
    return click.option("--parallel", type=kind, metavar="N", help="Maximum tenants at once.")(
        function
    )


def by_option(text: str) -> Callable[[F], F]:
    """Add --by, which says how migrations are undone."""
    kind = click.Choice(["auto", "script", "backup"])
    return click.option("--by", type=kind, default="auto", show_default=True, help=text)


def yes_option(function: F) -> F:
    """Add -y, which answers the question before a destructive command."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def reason_option(function: F) -> F:
    """Add --reason, which is recorded with the events."""
    return click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")(
        function
    )


def need_terminal_or_yes(*, yes: bool) -> None:
    """Raise click.UsageError where nobody could be asked and -y is not given."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(
            "this changes data that may be lost, and there is no terminal to ask: add -y."
        )


def interrupt(number: int, frame: object) -> None:
    """A handler for both signals while nothing is under way that they could harm."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless -y was given. Raises click.Abort on no, and on a signal."""
    if yes:
        return
    # The event loop stands still while somebody thinks: it would not notice a signal.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        click.confirm(question, abort=True, err=True)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
