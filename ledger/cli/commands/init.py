"""`ledger init`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ledger.cli.options import ledger_command
from ledger.cli.settings import Settings
from ledger.drivers.url import DEFAULT_LEDGER
from ledger.engines.kinds import KINDS
from ledger.errors import UsageError
from ledger.render.text import shell_word, write_lines

if TYPE_CHECKING:
    from ledger.api import Ledger


F = TypeVar("F", bound=Callable[..., None])


def _kind_options(function: F) -> F:
    """Add `--KIND` for each kind of tenants."""
    for name, kind in reversed(list(KINDS.items())):
        example = kind.example
        function = click.option(f"--{name}", metavar=example.metavar, help=example.help)(function)
    return function


@ledger_command("init")
@click.argument("folder", default=".", metavar="[DIR]")
@_kind_options
@click.option("--databases", metavar="PATTERN", help="Which of them [default: tenant_%].")
@click.option("--url", metavar="URL", default=DEFAULT_LEDGER, help="Where the ledger is.")
def command(
    settings: Settings,
    *,
    folder: str,
    databases: str | None,
    url: str,
    **kinds: str | None,
) -> None:
    """Write ledger.toml into DIR, make the folders, and create the ledger database.

    Nothing that is there is overwritten. A password in a URL is not written
    down: the file names an environment variable instead.
    """
    from ledger.cli.template import configuration, without_password
    from ledger.config import in_working_folder

    tenants = {name: value for name, value in kinds.items() if value is not None}
    servers = [url for name, url in tenants.items() if KINDS[name].has_server]
    if databases is not None and not servers:
        keys = [name for name, kind in KINDS.items() if kind.has_server]
        raise click.UsageError(f"--databases goes with --{' or --'.join(keys)}.")
    if databases is None and any("/" not in url.partition("://")[2] for url in servers):
        databases = "tenant_%"
    root = Path(folder)
    in_working_folder(root)
    text, secrets = configuration(url=url, tenants=tenants, databases=databases)
    file = _write_config(root, text)
    made = _make_folders(root)
    for name, secret in secrets.items():
        os.environ.setdefault(name, secret)
    try:
        _create_ledger(settings, file)
    except BaseException:
        # All or nothing: the same command may be typed again.
        file.unlink()
        raise
    if settings.quiet:
        return
    _say_next(root, [*made, f"the ledger {without_password(url)[0]}"], tuple(secrets))


def _write_config(root: Path, text: str) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = root / "ledger.toml"
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise UsageError(
            "is there already; nothing was written",
            hint="Edit it, or name another folder: ledger init DIR.",
            file=str(root / "ledger.toml" if root.is_dir() else root),
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot be written: {(error.strerror or str(error)).lower()}", file=str(root)
        ) from error
    return file


def _make_folders(root: Path) -> list[str]:
    """The migrations and backups folders where they are missing; backups are for their owner alone."""
    made = []
    for name, mode in (("migrations", 0o777), ("backups", 0o700)):
        if not (root / name).exists():
            (root / name).mkdir(mode=mode)
            made.append(f"{name}/")
    return made


def _create_ledger(settings: Settings, file: Path) -> None:
    from ledger.cli.session import open_and_work
    from ledger.config import load_config

    async def work(ledger: Ledger) -> None:
        await ledger.init()

    open_and_work(settings, load_config(file), work)


def _say_next(root: Path, made: list[str], variables: tuple[str, ...]) -> None:
    where = "" if root == Path() else f"cd {shell_word(str(root))}\n  "
    lines = [f"Wrote {root / 'ledger.toml'}, made {', '.join(made)}."]
    if variables:
        names = " and ".join(variables)
        lines.append(f"The password was not written down: set {names}, which ledger.toml names.")
    lines += [
        "Next:",
        f"  {where}ledger tenants                  which tenants are found",
        "  ledger new create_users         write the first migration",
        "  ledger migrate --all-tenants    apply it",
    ]
    write_lines(lines, out=sys.stdout)
