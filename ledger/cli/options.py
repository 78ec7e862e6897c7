"""Options that many commands share, and what they were set to.

Invariant: a shared option means the same before and after the command's name.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Settings:
    """The shared options of one command line; `arguments` is that line."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        self.config: str | None = None
        self.env: str | None = None
        self.quiet = False
        self.verbose = 0
        self.log_format: Literal["text", "json"] = "text"
        self.log_file: str | None = None
        self.format: Literal["table", "json", "jsonl", "csv"] = "table"


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


def ledger_command(name: str) -> Callable[[F], click.Command]:
    """A command that gets `Settings` as its first argument; the shared options close its help."""

    def wrap(function: F) -> click.Command:
        made = click.command(name, context_settings={"max_content_width": 100})(
            click.make_pass_decorator(Settings)(function)
        )
        made.params.extend(shared_options())
        return made

    return wrap


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


def one_tenant_option(function: F) -> F:
    """Add TENANT and --tenant NAME, which mean the same, to be read by `one_tenant`."""
    for option in (
        click.option("--tenant", "named", metavar="NAME", help="The same as TENANT."),
        click.argument("tenant", required=False),
    ):
        function = option(function)
    return function


def one_tenant(tenant: str | None, named: str | None) -> str | None:
    """The tenant that was named in either way. Raises click.UsageError for two of them."""
    if tenant is not None and named is not None:
        raise click.UsageError("name the tenant once: TENANT, or --tenant NAME.")
    return tenant if named is None else named


def require_tenant(tenant: str | None, named: str | None) -> str:
    """The tenant that was named in either way. Raises click.UsageError for none, and for two."""
    found = one_tenant(tenant, named)
    if found is None:
        raise click.UsageError("name the tenant: TENANT, or --tenant NAME.")
    return found


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
    # The event loop stands still while somebody thinks: it could not tell of a signal.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        click.confirm(question, abort=True, err=True)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
